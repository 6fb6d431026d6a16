"""What one training run is: how long, how fed, on what machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.datasets import Batch, Feed, Order, Views
from mae_bench.kit.epochs import EpochFields
from mae_bench.kit.machine import Machine
from mae_bench.kit.schedule import WarmupCosine, scaled_lr
from mae_bench.kit.split import Split

Batches = Callable[[int, int, Split], Iterator[Batch]]
"""(first step, number of times the run went back, split) -> this rank's micro-batches."""


@dataclass(frozen=True)
class Training:
    """One training run: where it lives, how long it is and how it is fed."""

    out: Path
    seed: int
    steps: int
    steps_per_epoch: int
    batch_size: int
    batches: Batches
    lr_at: Callable[[float], float]
    """Fractional epoch -> learning rate, multiplied by a group's `lr_scale` if it has one."""
    machine: Machine
    identity: dict[str, Any] = field(default_factory=dict)
    """What a checkpoint must agree with to be resumed."""
    image_size: int = 0
    """Side of the images, to try how many fit."""
    watch: Callable[[int], dict[str, float]] | None = None
    """Called on the first rank after each epoch with the number of epochs done; values to log."""
    unreadable: Callable[[], dict[int, str]] = dict
    """Index and name of the images that could not be read so far, on this rank."""
    most_unreadable: int = 0


def epoch_training(recipe: EpochFields, ctx: Context, views: Views, machine: Machine) -> Training:
    """Return the run of the recipe's epochs over the views, in ctx.out."""
    order = Order(len(views.samples), recipe.batch_size, recipe.epochs, ctx.seed)
    lr = scaled_lr(recipe.lr_per_256, recipe.batch_size)
    schedule = WarmupCosine(lr, recipe.min_lr, recipe.warmup_epochs, recipe.epochs)
    feed = Feed(views, order, machine.compute.workers)
    return Training(
        out=ctx.out,
        seed=ctx.seed,
        steps=order.steps_per_epoch * recipe.epochs,
        steps_per_epoch=order.steps_per_epoch,
        batch_size=recipe.batch_size,
        batches=feed.batches,
        lr_at=schedule.at,
        machine=machine,
        identity={
            "recipe": recipe.name,
            "version": recipe.version,
            **fields_of(recipe),
            "seed": ctx.seed,
            "images": len(views.samples),
        },
        image_size=recipe.image_size,
        unreadable=lambda: feed.unreadable,
        most_unreadable=int(machine.compute.bad_images * len(views.samples)),
    )
