"""The one training loop of all our own training: resumable to the bit on a CPU."""

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mae_bench.core.files import record_facts
from mae_bench.kit.datasets import Batch
from mae_bench.kit.facts import peak_flops
from mae_bench.kit.guard import Guard, put_back
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.offers import divided, made_up, offers
from mae_bench.kit.pace import stop_signals
from mae_bench.kit.parallel import (
    Module,
    copies,
    fitting_micro_batch,
    gradients,
    whole,
)
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.split import Split, share_of, split_batch
from mae_bench.kit.training import Training

log = logging.getLogger(__name__)


def train(module: Module, optimizer: Optimizer, training: Training) -> Module:
    """Return the module after `training.steps`, continuing from the newest checkpoint in `out`.

    `module(images, labels)` returns the loss, a scalar; `offers.py` lists what else a module may
    have. A parameter group with `constant_lr` keeps that rate. Every step draws from generators
    seeded by (seed, step).

    On SIGTERM, SIGUSR2 or SIGINT to any rank all end the step, the state is saved and
    SystemExit(75) raised. A step whose loss is not finite is left out: weights, moments and buffers
    stay; several in a row lead back to the last checkpoint and on in another order, and to
    ValueError if that does not help.
    Of several ranks only the first gets whole weights back.
    """
    _Run(module, optimizer, training).go()
    return whole(module, training.machine.ranks)


class _Run:
    """The state of one run on one rank."""

    def __init__(self, module: nn.Module, optimizer: Optimizer, training: Training) -> None:
        self.module, self.optimizer, self.training = module, optimizer, training
        self.machine = training.machine
        self.ranks, compute = self.machine.ranks, self.machine.compute
        share_of(training.batch_size, self.ranks.world)
        self.keeper = Keeper(training.out, training.steps, module, optimizer, self.machine)
        self.keeper.same_run(training.identity, compute.force)
        half = self.machine.dtype != torch.float32
        self.guard = Guard(optimizer, self.ranks.device, compute.nonfinite, check_gradients=half)
        self.guard.skipped = self.keeper.extra.get("skipped", 0)
        self.named: dict[int, str] = self.keeper.extra.get("unreadable", {})
        """Unreadable images of all ranks."""
        self.unreadable = 0
        self.keeper.before_save = self._note
        self.scaler = torch.amp.GradScaler(
            self.ranks.device.type, enabled=self.machine.dtype == torch.float16
        )
        if self.scaler.is_enabled() and "scaler" in self.keeper.extra:
            self.scaler.load_state_dict(self.keeper.extra["scaler"])
        self.model = copies(module, self.ranks)
        self.offers = offers(module)
        chosen = self._split()
        self.micro = chosen.micro
        self.split = divided(module, chosen)
        if self.machine.compiles:
            torch._dynamo.reset()  # several trainings in one job would add up to its limit
            module.compile(dynamic=False)
        self.waited = 0.0

    def go(self) -> None:
        """Take all steps that are left."""
        self.module.train()
        with stop_signals() as self.keeper.stopped:
            step = self.keeper.start
            batches = self._batches(step)
            since, first = time.monotonic(), step
            while step < self.training.steps:
                loss = self._step(step, batches)
                step += 1
                read = self.guard.watch(step, loss)
                if step == self.training.steps:
                    read = self.guard.read_all() or read
                if self.guard.diverged:
                    step = self._go_back(step)
                    batches, since, first = self._batches(step), time.monotonic(), step
                    continue
                if self.keeper.pace.log_due() or step == self.training.steps:
                    self._log(step, read, (step - first), time.monotonic() - since)
                    since, first, self.waited = time.monotonic(), step, 0.0
                self._after(step)

    def _step(self, step: int, batches: Iterator[Batch]) -> Tensor:
        """Take one optimiser step and return the mean loss over the whole batch."""
        training, split = self.training, self.split
        lr = training.lr_at(step / training.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group.get("constant_lr", lr * group.get("lr_scale", 1.0))
        seed_globals(training.seed, "step", step)
        noise = self.offers.noise(split.batch_size)
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        total = torch.zeros((), device=self.ranks.device)
        for part in range(split.parts):
            total += self._part(step, part, next_timed(batches, self), noise)
        loss = self.ranks.mean(total)
        self.scaler.unscale_(self.optimizer)
        self.offers.before_step()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss = self.guard.step(loss)
        self.optimizer.zero_grad(set_to_none=True)
        self.offers.after_step((step + 1) / training.steps)
        put_back(self.module, buffers, ~loss.isfinite())
        return loss

    def _part(self, step: int, part: int, batch: Batch, noise: Tensor | None) -> Tensor:
        """Add the gradients of one micro-batch and return its share of the loss."""
        split, device = self.split, self.ranks.device
        rows = split.rows(part)
        seed_globals(self.training.seed, "step", step, rows.start)
        images, labels = (tensor.to(device, non_blocking=True) for tensor in batch)
        with gradients(self.model, last=part == split.parts - 1):
            with self._autocast():
                loss = self.model(images, labels if noise is None else noise[rows]) / split.parts
            self.scaler.scale(loss).backward()
        return loss.detach()

    def _autocast(self) -> torch.autocast:
        """Return the context of the forward pass."""
        dtype = self.machine.dtype
        enabled = dtype != torch.float32
        return torch.autocast(self.ranks.device.type, dtype if enabled else None, enabled=enabled)

    def _split(self) -> Split:
        """Return this rank's part of each batch, by the setting or by trying what fits."""
        size, world = self.training.batch_size, self.ranks.world
        micro, before = self.machine.compute.micro_batch, self.keeper.extra.get("split")
        if micro == "auto" and before is not None and before[0] == world:
            micro = before[1]  # some draws depend on it: a resumed run goes on as it began
        if micro == "auto":
            micro = fitting_micro_batch(
                self.module, share_of(size, world), self.ranks, self._attempt
            )
        return split_batch(size, self.ranks.rank, world, micro)

    def _attempt(self, micro: int) -> None:
        """Run forward and backward on made-up images and leave no trace."""
        share = share_of(self.training.batch_size, self.ranks.world)
        images, labels = made_up(self.module, share, micro, self.training.image_size)
        buffers = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        try:
            with self._autocast():
                loss = self.module(images, labels)
            loss.backward()
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            for name, buffer in self.module.named_buffers():
                buffer.copy_(buffers[name])

    def _batches(self, step: int) -> Iterator[Batch]:
        """Return the micro-batches from that step on."""
        return self.training.batches(step, self.keeper.extra.get("went_back", 0), self.split)

    def _after(self, step: int) -> None:
        """Watch at the end of an epoch, save or stop when it is time, count unreadable images."""
        training, keeper = self.training, self.keeper
        if training.watch is not None and step % training.steps_per_epoch == 0:
            if self.ranks.first:
                keeper.log(step, **training.watch(step // training.steps_per_epoch))
            self.ranks.wait()
        found = training.unreadable()
        stop, save, new = keeper.agree(step, len(found) - self.unreadable)
        if new:
            self._count_unreadable(found)
            self.unreadable = len(found)
        if stop or save:
            self.guard.read_all()
            if self.guard.in_row == 0:  # weights that gave such a loss may be spoilt
                keeper.save(step)
        if stop:
            keeper.leave(step)

    def _count_unreadable(self, found: dict[int, str]) -> None:
        """Name the images that could not be read, over all ranks; ValueError if there are many."""
        names = self.named | self.ranks.union(found)
        for index in names.keys() - self.named.keys():
            log.warning("unreadable image, another is taken: %s", names[index])
        self.named = names
        if len(names) > self.training.most_unreadable:
            raise ValueError(
                f"{len(names)} unreadable images, at most {self.training.most_unreadable} allowed "
                f"(--bad-images), such as {next(iter(names.values()))}; mend or remove them"
            )

    def _go_back(self, step: int) -> int:
        """Return to the newest checkpoint, once; ValueError the second time.

        Without one the run goes on from here: steps left out did not touch the weights.
        """
        in_row = self.guard.in_row
        if self.keeper.extra.get("went_back", 0):
            raise ValueError(
                f"the run diverged: {in_row} losses in a row were not finite, again after going "
                "back to a checkpoint; lower the learning rate or use --precision fp32"
            )
        step = self.keeper.resume() or step
        self.keeper.extra["went_back"] = 1
        self.ranks.wait()  # until all have read what the save may replace
        self.guard.forget()
        self.keeper.save(step)
        log.warning("%d losses in a row not finite: back to step %d, other order", in_row, step)
        return step

    def _note(self) -> None:
        """Bring up to date what a checkpoint holds besides the weights and moments."""
        extra = self.keeper.extra
        extra["identity"] = self.training.identity
        extra["skipped"] = self.guard.skipped
        extra["unreadable"] = self.named
        extra["split"] = [self.split.world, self.micro]
        if self.scaler.is_enabled():
            extra["scaler"] = self.scaler.state_dict()

    def _log(self, step: int, loss: float | None, steps: int, seconds: float) -> None:
        """Write how the run goes."""
        training = self.training
        values = {
            "epoch": round(step / training.steps_per_epoch, 3),
            "lr": training.lr_at((step - 1) / training.steps_per_epoch),
            "images_per_s": round(steps * training.batch_size / max(seconds, 1e-9), 1),
            "data_wait": round(self.waited / max(seconds, 1e-9), 3),
        }
        flops, peak = self.offers.training_flops, peak_flops(self.ranks.device)
        if flops and peak:
            values["mfu"] = round(values["images_per_s"] * flops / peak / self.ranks.world, 4)
        if loss is not None and math.isfinite(loss):
            values["loss"] = loss
        values |= self.offers.signs()
        if self.guard.skipped:
            values["skipped"] = self.guard.skipped
        self.keeper.log(step, **values)
        if step == training.steps and self.ranks.first:
            record_facts(training.out, training=self._facts())

    def _facts(self) -> dict[str, Any]:
        """Return what the result should say of how it was trained."""
        return {
            "world": self.ranks.world,
            "micro_batch": self.micro,
            "precision": str(self.machine.dtype).removeprefix("torch."),
            "compiled": self.machine.compiles,
            "skipped_steps": self.guard.skipped,
            "went_back": self.keeper.extra.get("went_back", 0),
        }


def next_timed(batches: Iterator[Batch], run: _Run) -> Batch:
    """Return the next micro-batch, adding the wait to the run's."""
    start = time.monotonic()
    batch = next(batches)
    run.waited += time.monotonic() - start
    return batch
