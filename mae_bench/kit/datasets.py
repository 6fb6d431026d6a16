"""Images as batches whose content and order depend on (seed, epoch) alone."""

import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mae_bench.kit.decode import Crops, Pixels, decode
from mae_bench.kit.images import View
from mae_bench.kit.randomness import generator, seed_globals, stream_seed
from mae_bench.kit.samples import Samples
from mae_bench.kit.split import Split

Place = tuple[int, int]
"""(epoch, index of an image)."""
Batch = tuple[Tensor, Tensor]
"""uint8 images [batch, 3, side, side], or [batch, crops, 3, side, side], and labels [batch]."""
MOST_WORKERS = 12
TRIES = 20
"""Images tried in a row in the place of an unreadable one."""


class Views(Dataset[tuple[Tensor, int, int]]):
    """One view of each image; its randomness depends on (seed, epoch, index) alone."""

    def __init__(self, samples: Samples, view: View, seed: int) -> None:
        self.samples = samples
        self.view = view
        self.seed = seed

    def __getitem__(self, place: Place) -> tuple[Pixels | Crops, int, int]:
        """Return uint8 pixels, label, and the index of an unreadable image there or -1.

        An unreadable image is replaced by the next readable one, whoever asks.
        """
        epoch, index = place
        for offset in range(TRIES):
            taken = (index + offset) % len(self.samples)
            try:
                pixels = decode(self.samples.read(taken))
            except (OSError, ValueError) as error:
                last = error
                continue
            purpose = ("view", epoch, index)
            seed_globals(self.seed, *purpose)
            rng = random.Random(stream_seed(self.seed, *purpose))
            label = int(self.samples.labels[taken])
            return self.view(pixels, rng), label, -1 if taken == index else index
        raise ValueError(
            f"{self.samples.name(index)} and {TRIES - 1} images after it cannot be read: {last}; "
            "copy the data again"
        )


@dataclass(frozen=True)
class Order:
    """Which images make up which batch of a training run; an incomplete last batch is dropped."""

    num_images: int
    batch_size: int
    epochs: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_images < self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is larger than the training set of "
                f"{self.num_images} images; lower batch_size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return self.num_images // self.batch_size

    def batches(self, start: int, detour: int = 0) -> Iterator[list[Place]]:
        """Yield the places of each batch from step `start` on; another detour, another order."""
        for epoch in range(start // self.steps_per_epoch, self.epochs):
            purpose = ("order", epoch, detour) if detour else ("order", epoch)
            shuffled = torch.randperm(self.num_images, generator=generator(self.seed, *purpose))
            first = max(0, start - epoch * self.steps_per_epoch)
            for step in range(first, self.steps_per_epoch):
                at = step * self.batch_size
                chosen = shuffled[at : at + self.batch_size].tolist()
                yield [(epoch, index) for index in chosen]


class BatchesFrom:
    """One rank's micro-batches of an order from a step on, as the DataLoader wants: iterable."""

    def __init__(
        self, order: Order, start: int, split: Split | None = None, detour: int = 0
    ) -> None:
        self.order, self.start, self.detour = order, start, detour
        self.split = split or Split(order.batch_size, 0, 1, order.batch_size)

    def __iter__(self) -> Iterator[list[Place]]:
        for places in self.order.batches(self.start, self.detour):
            for part in range(self.split.parts):
                yield places[self.split.rows(part)]


class Feed:
    """Training batches, read by worker processes that live as long as the run."""

    def __init__(self, views: Views, order: Order, workers: int = -1) -> None:
        self.views, self.order, self.workers = views, order, workers
        self.unreadable: dict[int, str] = {}
        """Index and name of the images that could not be read so far."""

    def batches(self, start: int, detour: int, split: Split) -> Iterator[Batch]:
        """Yield the rank's micro-batches from step `start` to the end of the run."""
        places = BatchesFrom(self.order, start, split, detour)
        loader = DataLoader(self.views, batch_sampler=places, **loader_options(self.workers))
        for images, labels, unreadable in loader:
            for index in unreadable[unreadable >= 0].tolist():
                self.unreadable[index] = self.views.samples.name(index)
            yield images, labels


def eval_batches(
    views: Views,
    chosen: Sequence[int] | None = None,
    batch_size: int = 128,
    unreadable: Literal["refuse", "replace"] = "refuse",
) -> Iterator[Batch]:
    """Yield every image of the split, or those chosen, exactly once in order.

    Raises ValueError at an unreadable one; `replace` takes the next one instead, as in training,
    and is for training images alone.
    """
    indices = range(len(views.samples)) if chosen is None else chosen
    places = [
        [(0, index) for index in indices[at : at + batch_size]]
        for at in range(0, len(indices), batch_size)
    ]
    for images, labels, found in DataLoader(views, batch_sampler=places, **loader_options()):
        broken = found[found >= 0].tolist()
        if broken and unreadable == "refuse":
            raise ValueError(
                f"{views.samples.name(broken[0])} is not a readable image; an evaluation "
                "takes every one, copy it again"
            )
        yield images, labels


def loader_options(workers: int = -1) -> dict[str, object]:
    """Return the DataLoader's options; they never change a batch.

    -1 workers: on a GPU machine each rank's share of the cores up to 12, on a CPU none, since the
    model needs the cores.
    """
    cuda = torch.cuda.is_available()
    if workers < 0:
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        share = len(os.sched_getaffinity(0)) // ranks
        workers = min(MOST_WORKERS, max(1, share - 1)) if cuda else 0
    prefetch = {"prefetch_factor": 4} if workers else {}
    return {
        "num_workers": workers,
        "pin_memory": cuda,
        "worker_init_fn": _start_worker,
        **prefetch,
    }


def _start_worker(worker: int) -> None:
    """Keep a worker to one core, and let only its parent end it.

    A signal to the whole job must not: the run takes its step to the end and saves itself.
    """
    torch.set_num_threads(1)
    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    threading.Thread(target=_obey_parent, args=(numbers,), daemon=True).start()


def _obey_parent(numbers: tuple[signal.Signals, ...]) -> None:
    """Wait for a signal from the parent process and end; those of others are taken and dropped."""
    parent = os.getppid()
    while signal.sigwaitinfo(numbers).si_pid != parent:
        pass
    os._exit(0)
