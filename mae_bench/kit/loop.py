"""The one training loop of all our own training: resumable to the bit on a CPU."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Batch, Order, Views, train_batches
from mae_bench.kit.epochs import EpochFields
from mae_bench.kit.keeper import Keeper
from mae_bench.kit.pace import stop_signals
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.schedule import WarmupCosine, scaled_lr

MICRO_BATCH = 256
"""Images in one forward pass; a larger batch is accumulated."""


@dataclass(frozen=True)
class Training:
    """One training run: where it lives, how long it is and how it is fed."""

    out: Path
    seed: int
    steps: int
    steps_per_epoch: int
    batch_size: int
    batches: Callable[[int, int], Iterator[Batch]]
    """(first step, parts per batch) -> the micro-batches from that step on."""
    lr_at: Callable[[float], float]
    """Fractional epoch -> learning rate, multiplied by a group's `lr_scale` if it has one."""


def epoch_training(recipe: EpochFields, ctx: Context, views: Views) -> Training:
    """Return the run of the recipe's epochs over the views, in ctx.out."""
    order = Order(len(views.samples.files), recipe.batch_size, recipe.epochs, ctx.seed)
    lr = scaled_lr(recipe.lr_per_256, recipe.batch_size)
    schedule = WarmupCosine(lr, recipe.min_lr, recipe.warmup_epochs, recipe.epochs)
    return Training(
        out=ctx.out,
        seed=ctx.seed,
        steps=order.steps_per_epoch * recipe.epochs,
        steps_per_epoch=order.steps_per_epoch,
        batch_size=recipe.batch_size,
        batches=lambda start, parts: train_batches(views, order, start, parts),
        lr_at=schedule.at,
    )


def train(module: nn.Module, optimizer: Optimizer, training: Training) -> None:
    """Train until `training.steps`, continuing from the newest checkpoint in `out`.

    `module(images, labels)` returns the loss, a scalar; `module.after_step(progress)` is called
    with progress in (0, 1] where it exists. Every step draws from generators seeded by
    (seed, step). On SIGTERM, SIGUSR2 or SIGINT the step ends, the state is saved and SystemExit(75)
    raised. Raises ValueError if the loss is not finite.
    """
    keeper = Keeper(training.out, training.steps, module, optimizer)
    parts = num_parts(training.batch_size)
    device = next(module.parameters()).device
    batches = training.batches(keeper.start, parts)
    module.train()
    with stop_signals() as keeper.stopped:
        for step in range(keeper.start, training.steps):
            seed_globals(training.seed, "step", step)
            epoch = step / training.steps_per_epoch
            lr = training.lr_at(epoch)
            _set_lr(optimizer, lr)
            loss = _step(module, optimizer, batches, parts, device)
            if hasattr(module, "after_step"):
                module.after_step((step + 1) / training.steps)
            keeper.after(step + 1, loss, epoch=round(epoch, 3), lr=lr)


def num_parts(batch_size: int) -> int:
    """Return the fewest equal parts of a batch that hold at most MICRO_BATCH images each."""
    fewest = math.ceil(batch_size / MICRO_BATCH)
    return next(parts for parts in range(fewest, batch_size + 1) if batch_size % parts == 0)


def _step(
    module: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[Batch],
    parts: int,
    device: torch.device,
) -> Tensor:
    """Take one optimiser step over `parts` micro-batches and return the mean loss, detached."""
    total = torch.zeros((), device=device)
    for _ in range(parts):
        images, labels = next(batches)
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = module(images, labels) / parts
        loss.backward()
        total += loss.detach()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
