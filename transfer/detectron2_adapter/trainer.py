"""detectron2's trainer, taking the recipe's batch in parts, on any number of ranks."""

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from detectron2.engine import AMPTrainer, HookBase
from fvcore.common.param_scheduler import ParamScheduler
from torch import Tensor, nn

from mae_bench.kit.batch_norm_share import note_share
from mae_bench.kit.guard import Guard
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.machine import Machine
from mae_bench.kit.parallel import gradients
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.split import Split

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

log = logging.getLogger(__name__)

Batches = Iterator[list[dict[str, Any]]]


class DivergedError(Exception):
    """As many losses in a row as allowed were not finite; `step` steps are done."""

    def __init__(self, in_row: int, step: int) -> None:
        super().__init__(f"{in_row} losses in a row, up to step {step}, are not finite")
        self.step = step


@dataclass(frozen=True)
class Course:
    """What a run does at each iteration: whose it is, its seed, and its part of each batch."""

    recipe: "DetectionRecipe"
    seed: int
    machine: Machine
    split: Split
    most_unreadable: int
    """Training images that may be unreadable."""


class PartsTrainer(AMPTrainer):  # type: ignore[misc] # detectron2 has no types
    """AMPTrainer whose step adds the gradients of several parts of the batch.

    Each part draws from (seed, iteration, its first row), so the same parts give the same step on
    one rank or several. The losses of whole batches and of parts differ all the same where
    detectron2 divides by what it sampled in a part: the heads' by their proposals and masks.
    In fp32 and bf16 the scaler is off; without a GPU the parts run in the same precision too.
    """

    def __init__(self, model: nn.Module, batches: Batches, optimizer: Any, course: Course) -> None:
        machine = course.machine
        device, half = machine.ranks.device, machine.dtype != torch.float32
        scaler = torch.amp.GradScaler(device.type, enabled=machine.dtype == torch.float16)
        super().__init__(model, batches, optimizer, grad_scaler=scaler, precision=machine.dtype)
        self.course = course
        self.guard = Guard(optimizer, device, machine.compute.nonfinite, check_gradients=half)
        self.names: list[str] = []
        self.losses = torch.zeros(0)
        """Of the last step, over the whole batch: their sum, then those in `names`."""
        self.waited = 0.0
        """Seconds that batches were waited for since it was set to 0."""
        self.unreadable: dict[int, str] = {}
        """Images of this rank that could not be read, and why."""

    def run_step(self) -> None:
        """Take one optimiser step over the whole batch; leave it out if its loss is not finite."""
        split, ranks = self.course.split, self.course.machine.ranks
        total = sum(self._part(part) for part in range(split.parts))
        self.after_backward()
        losses = ranks.mean(total)
        if self.grad_scaler.is_enabled():
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        else:
            stepped = self.guard.step(losses[0])
            losses = torch.cat([stepped[None], losses[1:]])
        self.optimizer.zero_grad(set_to_none=True)
        self.losses = losses

    def _part(self, part: int) -> Tensor:
        """Add the gradients of one part; return its share of the summed loss and of each loss."""
        split, device = self.course.split, self.course.machine.ranks.device
        start = time.monotonic()
        batch = next(self._data_loader_iter)
        self.waited += time.monotonic() - start
        self.unreadable |= dict(one["unreadable"] for one in batch if "unreadable" in one)
        seed_globals(self.course.seed, "step", self.iter, split.rows(part).start)
        half = self.precision != torch.float32
        dtype = self.precision if half else None
        with gradients(self.model, last=part == split.parts - 1):
            with torch.autocast(device.type, dtype, enabled=half):
                found: dict[str, Tensor] = self.model(batch)
                loss = sum(found.values()) / split.parts
            self.grad_scaler.scale(loss).backward()
        self.names = list(found)
        parts = torch.stack([one.detach().float() for one in found.values()]) / split.parts
        return torch.cat([loss.detach().float()[None], parts])

    def state_dict(self) -> dict[str, Any]:
        """Return iteration, hooks and scaler; optimiser and module are in the keeper's hands."""
        state: dict[str, Any] = super().state_dict()
        del state["optimizer"]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over iteration, hooks and scaler; a run in another precision left no scaler."""
        state = {"grad_scaler": {}, "optimizer": self.optimizer.state_dict(), **state_dict}
        if self.grad_scaler.is_enabled() and not state["grad_scaler"]:
            state["grad_scaler"] = self.grad_scaler.state_dict()
        super().load_state_dict(state)


class RecipeSchedule(ParamScheduler):  # type: ignore[misc] # fvcore has no types
    """The recipe's learning rate factor, as detectron2's LRScheduler hook asks for it."""

    def __init__(self, recipe: "DetectionRecipe") -> None:
        self.recipe = recipe

    def __call__(self, where: float) -> float:
        """Return the factor at that share of the iterations, in [0, 1]."""
        return self.recipe.lr_factor(round(where * self.recipe.iterations))


class KeeperHook(HookBase):  # type: ignore[misc] # detectron2 has no types
    """Watches the losses, logs, and lets the keeper save and stop when it is time.

    Checkpoints are this project's, since detectron2's own are neither atomic nor checked. Has to
    be the last hook, so that the trainer's state is that of a whole step.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def before_train(self) -> None:
        """Start counting, and put the trainer's state into what the keeper saves."""
        self.since, self.first = time.monotonic(), self.trainer.iter
        self.trainer.guard.skipped = self.keeper.extra.get("skipped", 0)
        self.named: dict[int, str] = self.keeper.extra.get("unreadable", {})
        self.counted = 0
        self.keeper.before_save = self._note

    def after_step(self) -> None:
        """Look at the iteration's losses; save or stop. Raises DivergedError."""
        trainer, keeper = self.trainer, self.keeper
        guard, step = trainer.guard, trainer.iter + 1
        note_share(keeper.extra, trainer.course.split)
        guard.watch(trainer.iter, trainer.losses[0])
        if step == keeper.steps:
            guard.read_all()
        if guard.diverged:
            error = DivergedError(guard.in_row, step)
            guard.read_all()
            self._note()
            raise error
        if keeper.pace.log_due() or step == keeper.steps:
            self._log(step)
        found = len(trainer.unreadable)
        stop, save, new = keeper.agree(step, found - self.counted)
        self.counted = found
        if new:
            self._count_unreadable()
        if stop or save:
            guard.read_all()
            if guard.in_row == 0:  # weights that gave such a loss may be spoilt
                keeper.save(step)
        if stop:
            keeper.leave(step)

    def _count_unreadable(self) -> None:
        """Name the images that could not be read, over all ranks; ValueError if there are many."""
        names = self.named | self.keeper.ranks.union(self.trainer.unreadable)
        for index in names.keys() - self.named.keys():
            log.warning("unreadable image, another is taken: %s", names[index])
        self.named, most = names, self.trainer.course.most_unreadable
        if len(names) > most:
            raise ValueError(
                f"{len(names)} unreadable images, at most {most} allowed (--bad-images), such as "
                f"{next(iter(names.values()))}; mend or remove them"
            )

    def _note(self) -> None:
        """Bring up to date what a checkpoint holds besides weights and moments."""
        split = self.trainer.course.split
        self.keeper.extra["trainer"] = self.trainer.state_dict()
        self.keeper.extra["skipped"] = self.trainer.guard.skipped
        self.keeper.extra["unreadable"] = self.named
        self.keeper.extra["split"] = [split.world, split.micro]

    def _log(self, step: int) -> None:
        """Write the losses and how fast it goes."""
        trainer, recipe = self.trainer, self.trainer.course.recipe
        seconds, steps = max(time.monotonic() - self.since, 1e-9), step - self.first
        names = ["loss", *trainer.names]
        losses = dict(zip(names, trainer.losses.tolist(), strict=True))
        values = {name: value for name, value in losses.items() if math.isfinite(value)}
        trainer.storage.put_scalars(**values, cur_iter=trainer.iter)
        values["lr"] = recipe.lr * recipe.lr_factor(trainer.iter)
        values["images_per_s"] = round(steps * recipe.batch_size / seconds, 2)
        values["data_wait"] = round(trainer.waited / seconds, 3)
        if trainer.guard.skipped:
            values["skipped"] = trainer.guard.skipped
        self.keeper.log(step, **values)
        self.since, self.first, trainer.waited = time.monotonic(), step, 0.0
