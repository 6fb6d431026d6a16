"""What a training run has at hand: its ranks, its settings, and how modules are put there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from mae_bench.core.compute import Compute, read_compute
from mae_bench.kit.parallel import shard
from mae_bench.kit.ranks import Ranks, join

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Machine:
    """The ranks of a run and the settings that all of them share."""

    ranks: Ranks
    compute: Compute

    @property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products."""
        chosen = self.compute.precision
        if chosen == "auto":
            capable = self.ranks.device.type == "cuda" and torch.cuda.is_bf16_supported(
                including_emulation=False
            )
            chosen = "bf16" if capable else "fp32"
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[chosen]

    @property
    def compiles(self) -> bool:
        """Return whether torch.compile is used: on a GPU unless switched off."""
        if self.compute.compile == "auto":
            return self.ranks.device.type == "cuda"
        return self.compute.compile == "on"

    @property
    def evaluators(self) -> Ranks:
        """Return the ranks that divide an evaluation: each alone with shards, of which only the
        first has whole weights afterwards.
        """
        sharded = self.compute.shard == "fsdp" and self.ranks.world > 1
        return Ranks(0, 1, self.ranks.device) if sharded else self.ranks

    def take(self, module: Module) -> Module:
        """Return the module on this rank's device, sharded if asked for; make optimisers after."""
        module.to(self.ranks.device)
        for part in module.modules():
            if hasattr(part, "recompute"):
                part.recompute = self.compute.recompute
        shard(module, self.ranks, self.compute)
        return module


def start(out: Path) -> Machine:
    """Join the other ranks and return what the run in `out` has, the same settings on each.

    Matrix products in fp32 may use TF32 on a GPU.
    """
    ranks = join()
    if ranks.device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    return Machine(ranks, ranks.share(read_compute(out)))


@contextmanager
def whole_float32() -> Iterator[None]:
    """Keep a GPU from rounding products to TF32 within the block, where their last bits decide."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
