"""mmengine's Runner, driven from a recipe: resumed, seeded and saved step by step."""

import logging
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.batch_norm import synced
from mae_bench.kit.batch_norm_share import batch_norm_deviations, note_share
from mae_bench.kit.datasets import BatchesFrom
from mae_bench.kit.guard import Guard
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.machine import Machine
from mae_bench.kit.pace import stop_signals
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.recovery import DivergedError, Unreadable, go_back
from mae_bench.kit.split import Split, share_of
from transfer.mmseg_adapter.data import SeededScenes, train_loader, train_order
from transfer.mmseg_adapter.parts import chosen_split
from transfer.mmseg_adapter.rules import BETAS, parameter_groups, training_dtype
from transfer.mmseg_adapter.wrapper import optim_wrapper

if TYPE_CHECKING:
    from transfer.segmentation import SegmentationRecipe

log = logging.getLogger(__name__)

UNUSED_HOOKS = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
"""The runner's default hooks whose work StepHook does, from the iteration's number alone."""


@dataclass(frozen=True)
class Training:
    """One training run."""

    recipe: "SegmentationRecipe"
    ctx: Context
    machine: Machine
    dataset: Any
    """mmsegmentation's training images."""

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type of the matrix products."""
        return training_dtype(self.recipe, self.machine)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with to be resumed."""
        return {
            "recipe": self.recipe.name,
            "version": self.recipe.version,
            **fields_of(self.recipe),
            "seed": self.ctx.seed,
            "images": len(self.dataset),
        }


def train(segmenter: nn.Module, training: Training) -> Split:
    """Train the segmenter in place, from the newest checkpoint on; return how batches are split.

    On SIGTERM, SIGUSR2 or SIGINT to any rank all end the step, the state is saved and
    SystemExit(75) raised. Steps whose loss is not finite are left out; several in a row lead back
    to the newest checkpoint and on in another order, and to ValueError if that does not help.
    """
    recipe, machine = training.recipe, training.machine
    share_of(recipe.batch_size, machine.ranks.world)
    machine.take(segmenter)
    cuda = machine.ranks.device.type == "cuda"
    groups = parameter_groups(segmenter, recipe, len(segmenter.backbone.layers))
    optimizer = torch.optim.AdamW(groups, betas=BETAS, fused=cuda)
    wrapper = optim_wrapper(optimizer, training.dtype, 1, machine)
    keeper = Keeper(training.ctx.out, recipe.iterations, segmenter, wrapper, machine)
    keeper.same_run(training.identity, machine.compute.force)
    split = chosen_split(segmenter, training, keeper)
    wrapper._accumulative_counts = split.parts  # known only now that the state is loaded
    half = training.dtype != torch.float32
    guard = Guard(optimizer, machine.ranks.device, machine.compute.nonfinite, check_gradients=half)
    guard.skipped = keeper.extra.get("skipped", 0)
    wrapper.watch(guard, machine)
    if keeper.start < recipe.iterations:
        _take_steps(segmenter, StepHook(training, keeper, split, wrapper))
    if machine.ranks.first:
        _note(segmenter, training, keeper, split)
    return split


def _take_steps(segmenter: nn.Module, hook: "StepHook") -> None:
    """Take the steps that are left; after losses that are not finite from further back."""
    training, keeper, guard = hook.training, hook.keeper, hook.wrapper.guard
    model = _copies(synced(segmenter, training.machine.ranks), training.machine)
    while hook.start < training.recipe.iterations:
        try:
            with stop_signals() as keeper.stopped:
                _runner(hook, model).train()
            break
        except DivergedError as error:
            hook.start = go_back(keeper, guard, error.step)
    hook.note()


class StepHook(Hook):  # type: ignore[misc] # mmengine has no types
    """Seeds each forward pass, sets each step's rate, and logs, saves and stops between steps.

    Checkpoints are this project's, since mmengine's own are neither atomic nor checked. The runner
    counts forward passes from the checkpoint on, so its number 0 is the first of step `start`.
    """

    def __init__(self, training: Training, keeper: Keeper, split: Split, wrapper: Any) -> None:
        self.training, self.keeper, self.split, self.wrapper = training, keeper, split, wrapper
        most = int(training.machine.compute.bad_images * len(training.dataset))
        self.unreadable = Unreadable(keeper, most)
        self.start = keeper.start
        """Steps done when the runner begins."""
        keeper.before_save = self.note

    def before_train(self, runner: Runner) -> None:
        """Start counting."""
        self.since, self.first, self.waited = time.monotonic(), self.start, 0.0
        self.ready = self.since
        """When the last forward pass was over: from then on the data is waited for."""

    def note(self) -> None:
        """Bring up to date what a checkpoint holds besides weights and moments."""
        extra, split = self.keeper.extra, self.split
        extra["identity"] = self.training.identity
        extra["skipped"] = self.wrapper.guard.skipped
        extra["split"] = [split.world, split.micro]
        note_share(extra, split)
        self.unreadable.note()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Make randomness and learning rate depend on the step and its first image alone."""
        self.waited += time.monotonic() - self.ready
        done, part = divmod(runner.iter, self.split.parts)
        step = self.start + done
        seed_globals(self.training.ctx.seed, "step", step, self.split.rows(part).start)
        if part == 0:
            factor = self.training.recipe.lr_factor(step)
            for group in self.wrapper.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
        for sample in data_batch["data_samples"]:
            self.unreadable.found |= dict([sample.unreadable] if "unreadable" in sample else [])

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """After the last part of a step watch its loss, log it, and save or stop when it is time.

        Raises DivergedError when too many losses in a row are not finite.
        """
        done, rest = divmod(runner.iter + 1, self.split.parts)
        if rest == 0:
            self._after_step(self.start + done, outputs)
        self.ready = time.monotonic()

    def _after_step(self, step: int, outputs: dict[str, Any]) -> None:
        """Do what is due when so many steps are done."""
        keeper, guard = self.keeper, self.wrapper.guard
        read = guard.watch(step, self.wrapper.loss)
        if step == keeper.steps:
            read = guard.read_all() or read
        if guard.diverged:
            raise DivergedError(step)
        if keeper.pace.log_due() or step == keeper.steps:
            self._log(step, read, outputs)
        stop, save, new = keeper.agree(step, self.unreadable.uncounted)
        if new:
            self.unreadable.count()
        if stop or save:
            guard.read_all()
            if guard.in_row == 0:  # weights that gave such a loss may be spoilt
                keeper.save(step)
        if stop:
            keeper.leave(step)

    def _log(self, step: int, loss: float | None, outputs: dict[str, Any]) -> None:
        """Write how the run goes; the parts of the loss are those of the first rank's last pass."""
        now, recipe = time.monotonic(), self.training.recipe
        seconds = max(now - self.since, 1e-9)
        values = {
            name: round(float(v.detach()), 6) for name, v in outputs.items() if name != "loss"
        }
        values |= {
            "lr": recipe.lr * recipe.lr_factor(step - 1),
            "images_per_s": round((step - self.first) * recipe.batch_size / seconds, 1),
            "data_wait": round(self.waited / seconds, 3),
        }
        if loss is not None:
            values["loss"] = loss
        finite = {name: v for name, v in values.items() if abs(v) < float("inf")}
        self.keeper.log(step, **finite)
        self.since, self.first, self.waited = now, step, 0.0


def runner_of(model: nn.Module, work_dir: Path, **parts: Any) -> Runner:
    """Return mmengine's runner with those parts, which leaves logs in its own folder alone."""
    return Runner(
        model=model,
        work_dir=str(work_dir),
        default_hooks=dict.fromkeys(UNUSED_HOOKS),
        default_scope="mmseg",
        experiment_name=work_dir.resolve().parent.name,
        log_level="ERROR",  # its warnings speak of what is left out on purpose
        **parts,
    )


def _runner(hook: StepHook, model: nn.Module) -> Runner:
    """Return the runner of the forward passes that are left."""
    training, split, start = hook.training, hook.split, hook.start
    recipe, seed = training.recipe, training.ctx.seed
    order = train_order(recipe, len(training.dataset), seed)
    scenes = SeededScenes(training.dataset, seed)
    places = BatchesFrom(order, start, split, hook.keeper.extra.get("detour", 0))
    return runner_of(
        model,
        training.ctx.out / "mmengine",
        train_dataloader=train_loader(scenes, places, training.machine.compute.workers),
        train_cfg={"by_epoch": False, "max_iters": (recipe.iterations - start) * split.parts},
        optim_wrapper=hook.wrapper,
        custom_hooks=[hook],
    )


def _copies(segmenter: nn.Module, machine: Machine) -> nn.Module:
    """Return what the runner trains: the segmenter itself, or its mmengine wrapper over ranks."""
    ranks = machine.ranks
    if ranks.world == 1:
        return segmenter
    return MMDistributedDataParallel(
        module=segmenter,
        device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
        broadcast_buffers=False,  # BatchNorm keeps them equal
        gradient_as_bucket_view=True,
    )


def _note(segmenter: nn.Module, training: Training, keeper: Keeper, split: Split) -> None:
    """Record how it was trained, and what differs from the recipe through it."""
    recipe, extra = training.recipe, keeper.extra
    facts = {
        "world": split.world,
        "micro_batch": split.micro,
        "precision": str(training.dtype).removeprefix("torch."),
        "compiled": False,
        "skipped_steps": extra.get("skipped", 0),
        "went_back": extra.get("went_back", 0),
        "training_rules": recipe.training_rules,
    }
    deviations = batch_norm_deviations(segmenter, recipe.batch_size, extra)
    record_facts(training.ctx.out, training=facts, deviations=deviations)
