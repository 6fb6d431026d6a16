"""Keeps a training run through kills and signals, whichever engine drives it."""

import logging
import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from mae_bench.core.files import append_metrics
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.pace import REQUEUE, Pace

log = logging.getLogger(__name__)


class Keeper:
    """Resumes a run, and after each step logs, saves and stops when it is time.

    `start` is the number of steps that the newest checkpoint holds, 0 without one; module and
    optimizer are then in its state.
    """

    def __init__(self, out: Path, steps: int, module: nn.Module, optimizer: Optimizer) -> None:
        self.out, self.steps = out, steps
        self.module, self.optimizer = module, optimizer
        self.checkpoints = Checkpoints(out / "checkpoints")
        self.pace = Pace()
        self.stopped: list[int] = []
        """Signals received so far: pace.stop_signals fills it."""
        self.start = self._resume()

    def after(self, step: int, loss: Tensor | float, **values: float) -> None:
        """Log about every second, save now and then, and on a signal save and exit with 75.

        `step` steps are done; `loss` is read only when it is logged. Raises ValueError if it is
        not finite then.
        """
        last = step == self.steps
        if self.pace.log_due() or last:
            append_metrics(
                self.out, step=step, steps=self.steps, loss=_finite(loss, step), **values
            )
        if self.stopped or self.pace.save_due() or last:
            with self.pace.saving():
                self.checkpoints.save(step, self._state(step))
        if self.stopped and not last:
            log.info("stopped by signal %d after step %d; state saved", self.stopped[0], step)
            raise SystemExit(REQUEUE)

    def _state(self, step: int) -> dict[str, Any]:
        """Return all that the rest of the run depends on."""
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
        }

    def _resume(self) -> int:
        """Load the newest checkpoint and return its step, 0 without one."""
        state = self.checkpoints.newest()
        if state is None:
            return 0
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        log.info("resumed after step %d", state["step"])
        return int(state["step"])


def _finite(loss: Tensor | float, step: int) -> float:
    """Return the loss as a number; ValueError if it is none."""
    value = float(loss)
    if not math.isfinite(value):
        raise ValueError(f"the run diverged: loss {value} at step {step}; lower the learning rate")
    return value
