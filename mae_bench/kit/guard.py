"""Keeps steps whose loss is not finite out of a module, and says when a run has diverged."""

import logging
import math
from collections import deque

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

log = logging.getLogger(__name__)

LAG_ON_GPU = 2
"""Steps after which a loss is read: the GPU is done with it, so nobody waits."""


class Guard:
    """Watches the losses of a run.

    The optimiser leaves out a step with a non-finite loss: a fused one is told on the device,
    for others the loss is read at once. The losses are read `LAG_ON_GPU` steps late on a GPU.
    """

    def __init__(
        self, optimizer: Optimizer, device: torch.device, limit: int, check_gradients: bool = False
    ) -> None:
        self.optimizer = optimizer
        self.limit = limit
        self.check_gradients = check_gradients
        """In half precision a gradient can overflow though the loss is finite."""
        self.lag = LAG_ON_GPU if device.type == "cuda" else 0
        self.fused = all(group.get("fused") for group in optimizer.param_groups)
        self.waiting: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
        self.skipped = 0
        """Steps left out over the whole run."""
        self.in_row = 0

    def step(self, loss: Tensor) -> Tensor:
        """Take the optimiser's step unless the loss is not finite; return the loss, or NaN then.

        Where gradients are checked, NaN stands also for a gradient that is not finite.
        """
        if self.check_gradients:
            loss = torch.where(self._norm().isfinite(), loss, torch.nan)
        if self.fused:
            self.optimizer.found_inf = (~loss.isfinite()).float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif bool(loss.isfinite()):
            self.optimizer.step()
        return loss

    def _norm(self) -> Tensor:
        """Return the norm of all gradients, on the device."""
        groups = self.optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        norm = get_total_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def watch(self, step: int, loss: Tensor) -> float | None:
        """Note the loss of a step and return the newest loss that can be read, or None."""
        event = None
        if loss.is_cuda:
            loss = loss.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self.waiting.append((step, loss, event))
        return self.read() if len(self.waiting) > self.lag else None

    def read(self) -> float | None:
        """Return the oldest unread loss, counting it; None if all are read."""
        if not self.waiting:
            return None
        step, loss, event = self.waiting.popleft()
        if event is not None:
            event.synchronize()
        value = float(loss)
        if math.isfinite(value):
            self.in_row = 0
        else:
            self.in_row += 1
            self.skipped += 1
            log.warning("step %d left out: its loss is %s", step, value)
        return value

    def read_all(self) -> float | None:
        """Return the newest loss after counting all that were not read yet; None if all were."""
        newest = None
        while self.waiting:
            newest = self.read()
        return newest

    @property
    def diverged(self) -> bool:
        """Return whether as many losses in a row as allowed were not finite."""
        return self.in_row >= self.limit

    def forget(self) -> None:
        """Start counting anew, after going back."""
        self.waiting.clear()
        self.in_row = 0


@torch.no_grad()
def put_back(module: nn.Module, buffers: dict[str, Tensor], wrong: Tensor) -> None:
    """Give the module's buffers their earlier values if the scalar is true, on the device.

    A forward pass writes BatchNorm's statistics before anyone knows its loss.
    """
    for name, buffer in module.named_buffers():
        buffer.copy_(torch.where(wrong, buffers[name], buffer))
