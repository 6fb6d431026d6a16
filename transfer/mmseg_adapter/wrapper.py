"""mmengine's optimiser wrappers with this project's guard: a loss that is no number stays out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from mae_bench.kit.guard import Guard
from mae_bench.kit.machine import Machine


class GuardedStep:
    """What both wrappers add: the mean loss of a step over parts and ranks, and the guard's step.

    `watch` must be called before the first step.
    """

    def watch(self, guard: Guard, machine: Machine) -> None:
        """Let the guard take the steps."""
        self.guard, self.ranks = guard, machine.ranks
        self.total = torch.zeros((), device=machine.ranks.device)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the optimiser and the loss scale; a run in another precision left no scale."""
        state, scaler = dict(state_dict), getattr(self, "loss_scaler", None)
        if scaler is None or not scaler.is_enabled() or not state.get("loss_scaler"):
            state.pop("loss_scaler", None)
        super().load_state_dict(state)  # type: ignore[misc]

    def update_params(self, loss: Tensor, *words: Any, **settings: Any) -> None:
        """Add a micro-batch's gradients, and step after the last."""
        self.total += loss.detach() / self._accumulative_counts  # type: ignore[attr-defined]
        super().update_params(loss, *words, **settings)  # type: ignore[misc]

    def step(self, **settings: Any) -> None:
        """Take the step unless the loss is not finite; a loss scaler decides for itself."""
        self.loss = self.ranks.mean(self.total)
        self.total = torch.zeros_like(self.total)
        scaler = getattr(self, "loss_scaler", None)
        if scaler is not None and scaler.is_enabled():
            super().step(**settings)  # type: ignore[misc]
        else:
            self.loss = self.guard.step(self.loss)


class PlainWrapper(GuardedStep, OptimWrapper):  # type: ignore[misc] # mmengine has no types
    """fp32, or bf16 on a CPU, which mmengine's AmpOptimWrapper refuses."""

    def __init__(self, dtype: torch.dtype, **settings: Any) -> None:
        super().__init__(**settings)
        self.dtype = dtype

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter the arithmetic of a forward pass, and hold gradients back until the last."""
        half = self.dtype != torch.float32
        arithmetic = torch.autocast("cpu", self.dtype if half else None, enabled=half)
        with super().optim_context(model), arithmetic:
            yield


class AmpWrapper(GuardedStep, AmpOptimWrapper):  # type: ignore[misc] # mmengine has no types
    """bf16 or, with a loss scale, fp16 on a GPU."""


def optim_wrapper(
    optimizer: Optimizer, dtype: torch.dtype, parts: int, machine: Machine
) -> PlainWrapper | AmpWrapper:
    """Return the wrapper for that arithmetic that steps after `parts` forward passes."""
    settings = {"optimizer": optimizer, "accumulative_counts": parts}
    if dtype == torch.float32 or machine.ranks.device.type == "cpu":
        return PlainWrapper(dtype, **settings)
    scale = {"enabled": dtype == torch.float16}
    return AmpWrapper(dtype=dtype, loss_scale=scale, **settings)
