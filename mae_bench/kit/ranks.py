"""The processes that train one model together; one process alone is one rank."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from mae_bench.kit.pace import DEAD_AFTER_S
from mae_bench.kit.parting import at_parting

Value = TypeVar("Value")
DEAD_AFTER = timedelta(seconds=DEAD_AFTER_S)


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Return whether this rank writes files."""
        return self.rank == 0

    @cached_property
    def _control(self) -> Any:
        """The group of all ranks over gloo: agreeing on a signal must not wait for the GPU."""
        return dist.new_group(backend="gloo", timeout=DEAD_AFTER)

    def total(self, *counts: int) -> list[int]:
        """Return the sum of each count over all ranks; every rank must call it."""
        if self.world == 1:
            return list(counts)
        numbers = torch.tensor(counts)
        dist.all_reduce(numbers, group=self._control)
        return [int(number) for number in numbers]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all ranks, on the device, without waiting for it."""
        if self.world > 1:
            dist.all_reduce(value)
            value /= self.world
        return value

    def share(self, value: Value) -> Value:
        """Return the first rank's value."""
        if self.world == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, group=self._control)
        return held[0]

    def union(self, values: dict[int, Value]) -> dict[int, Value]:
        """Return the values of all ranks together; every rank must call it."""
        if self.world == 1:
            return values
        parts: list[dict[int, Value]] = [{} for _ in range(self.world)]
        dist.all_gather_object(parts, values, group=self._control)
        return {key: value for part in parts for key, value in part.items()}

    def wait(self) -> None:
        """Return when every rank has come here."""
        if self.world > 1:
            dist.barrier(group=self._control)


def join() -> Ranks:
    """Return this process's place among the ranks that torchrun started; alone without torchrun.

    Each rank takes the GPU of its local number; CPU ranks talk over gloo.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        return Ranks(0, 1, device)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=DEAD_AFTER)
        at_parting(dist.destroy_process_group)
    return Ranks(dist.get_rank(), world, device)
