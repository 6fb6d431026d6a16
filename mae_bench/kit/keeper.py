"""Keeps a training run through kills and signals, whichever engine drives it."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful

from mae_bench.core.compute import Compute
from mae_bench.core.files import append_metrics, record_facts
from mae_bench.core.turns import note_stop
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.machine import Machine
from mae_bench.kit.pace import REQUEUE, Pace
from mae_bench.kit.parallel import full_state, load_full_state
from mae_bench.kit.parting import part
from mae_bench.kit.ranks import Ranks

log = logging.getLogger(__name__)

ALONE = Machine(Ranks(0, 1, torch.device("cpu")), Compute())


class Keeper:
    """Resumes a run, and after each step logs, saves and stops when it is time.

    `start` is the number of steps that the newest checkpoint holds, 0 without one; module and
    optimizer (or what a toolbox wraps it in) are then in its state, and `extra` holds what else was
    saved. All ranks act together.
    """

    def __init__(
        self,
        out: Path,
        steps: int,
        module: nn.Module,
        optimizer: Stateful,
        machine: Machine = ALONE,
    ) -> None:
        self.out, self.steps, self.ranks = out, steps, machine.ranks
        self.module, self.optimizer = module, optimizer
        self.checkpoints = Checkpoints(out / "checkpoints", machine.compute.keep)
        self.pace = Pace()
        self.stopped: list[int] = []
        """Signals received so far: pace.stop_signals fills it."""
        self.extra: dict[str, Any] = {}
        """What the rest of the run depends on besides module and optimizer; plain values."""
        self.before_save: Callable[[], None] = lambda: None
        """Called before each save, to bring `extra` up to date."""
        self.logs_fail = False
        self.start = self.resume()

    def after(self, step: int, loss: Tensor | float, **values: float | int) -> None:
        """Log about every second, save now and then, and on a signal save and exit with 75.

        `step` steps are done; `loss` is read only when it is logged. Raises ValueError if it is
        not finite then.
        """
        if self.pace.log_due() or step == self.steps:
            self.log(step, loss=_finite(loss, step), **values)
        self.save_or_stop(step)

    def log(self, step: int, **values: float | int) -> None:
        """Append a line to metrics.jsonl; a full disk costs lines, not the run."""
        if not self.ranks.first:
            return
        try:
            append_metrics(self.out, step=step, steps=self.steps, **values)
        except OSError as error:
            if not self.logs_fail:
                log.warning("progress is not logged any more: %s", error)
            self.logs_fail = True

    def save_or_stop(self, step: int) -> None:
        """Save if it is time, and on a signal save and exit with 75."""
        stop, save, _ = self.agree(step)
        if stop or save:
            self.save(step)
        if stop:
            self.leave(step)

    def agree(self, step: int, more: int = 0) -> tuple[bool, bool, int]:
        """Return whether to stop, whether to save, and the sum of `more`, the same on all ranks.

        A run stops on a signal to any rank; the last step is saved and not stopped at.
        """
        due = self.ranks.first and self.pace.save_due()
        stopped, save, total = self.ranks.total(bool(self.stopped), due, more)
        last = step == self.steps
        if stopped and self.ranks.first:
            note_stop(self.stopped[0] if self.stopped else 0)
        return bool(stopped) and not last, bool(save) or last, total

    def leave(self, step: int) -> None:
        """End this process with exit code 75, all ranks together."""
        self.ranks.wait()  # torchrun kills the first rank 30 s after another has left
        what = f"signal {self.stopped[0]}" if self.stopped else "a signal to another rank"
        log.info("stopped by %s after step %d; state saved", what, step)
        part()
        raise SystemExit(REQUEUE)

    def save(self, step: int) -> None:
        """Write a checkpoint; every rank must call it."""
        with self.pace.saving():
            self.before_save()
            state = full_state(self.module, self.optimizer)
            if self.ranks.first:
                self.checkpoints.save(step, {**state, "step": step, "extra": self.extra})

    def resume(self) -> int:
        """Load the newest whole checkpoint and return its step, 0 without one."""
        path = self.ranks.share(self.checkpoints.newest_path() if self.ranks.first else None)
        if path is None:
            return 0
        state = self.checkpoints.read(path)
        load_full_state(self.module, self.optimizer, state)
        self.extra = state.get("extra", {})
        log.info("resumed after step %d", state["step"])
        return int(state["step"])

    def same_run(self, identity: dict[str, Any], force: bool) -> None:
        """Note what run this is; ValueError if the checkpoint is of another, unless forced.

        A forced one leaves its mark in facts.json, which goes into the result.
        """
        before = self.extra.get("identity", identity)
        differing = [
            f"{name}: {before.get(name)!r} in the checkpoint, {identity.get(name)!r} now"
            for name in sorted(before.keys() | identity.keys())
            if before.get(name) != identity.get(name)
        ]
        if differing and not force:
            raise ValueError(
                f"the checkpoint in {self.checkpoints.folder} is of another run: "
                f"{'; '.join(differing)}; remove it, or continue with --force"
            )
        if differing and self.ranks.first:
            record_facts(self.out, resumed_from_another_configuration=differing)
        self.extra["identity"] = identity


def _finite(loss: Tensor | float, step: int) -> float:
    """Return the loss as a number; ValueError if it is none."""
    value = float(loss)
    if not math.isfinite(value):
        raise ValueError(f"the run diverged: loss {value} at step {step}; lower the learning rate")
    return value
