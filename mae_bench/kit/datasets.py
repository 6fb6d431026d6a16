"""ImageNet-style folders as batches whose order depends on (seed, epoch) alone."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from mae_bench.kit.images import View, read_image, to_tensor
from mae_bench.kit.randomness import generator, seed_globals, stream_seed

Place = tuple[int, int]
"""(epoch, index of an image)."""
Batch = tuple[Tensor, Tensor]
"""uint8 images [batch, 3, side, side] and labels [batch]."""


@dataclass(frozen=True)
class Samples:
    """The files of one split with their labels, sorted by class and name."""

    files: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def read_samples(root: Path, split: str) -> Samples:
    """Return the images under root/split/<class>/; labels count the sorted class folders."""
    folder = ImageFolder(str(root / split))
    files, labels = zip(*folder.samples, strict=True)
    return Samples(tuple(files), tuple(labels), tuple(folder.classes))


class Views(Dataset[tuple[Tensor, int]]):
    """One view of each image; its randomness depends on (seed, epoch, index) alone."""

    def __init__(self, samples: Samples, view: View, seed: int) -> None:
        self.samples = samples
        self.view = view
        self.seed = seed

    def __getitem__(self, place: Place) -> tuple[Tensor, int]:
        """Return uint8 pixels and label of the image at that place."""
        epoch, index = place
        image = read_image(self.samples.files[index])
        purpose = ("view", epoch, index)
        seed_globals(self.seed, *purpose)
        rng = random.Random(stream_seed(self.seed, *purpose))
        return to_tensor(self.view(image, rng)), self.samples.labels[index]


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

    def batches(self, start: int, parts: int = 1) -> Iterator[list[Place]]:
        """Yield the places of each batch from step `start` on, each in `parts` equal parts."""
        size = self.batch_size // parts
        for epoch in range(start // self.steps_per_epoch, self.epochs):
            shuffled = torch.randperm(
                self.num_images, generator=generator(self.seed, "order", epoch)
            ).tolist()
            first = max(0, start - epoch * self.steps_per_epoch)
            for step in range(first, self.steps_per_epoch):
                for part in range(parts):
                    at = step * self.batch_size + part * size
                    yield [(epoch, index) for index in shuffled[at : at + size]]


class BatchesFrom:
    """The batches of an order from a step on, as the DataLoader wants them: iterable."""

    def __init__(self, order: Order, start: int, parts: int) -> None:
        self.order, self.start, self.parts = order, start, parts

    def __iter__(self) -> Iterator[list[Place]]:
        return self.order.batches(self.start, self.parts)


def train_batches(views: Views, order: Order, start: int, parts: int = 1) -> Iterator[Batch]:
    """Yield the (parts of the) training batches from step `start` to the end of the run."""
    yield from DataLoader(views, batch_sampler=BatchesFrom(order, start, parts), **loader_options())


def eval_batches(views: Views, batch_size: int = 128) -> Iterator[Batch]:
    """Yield every image of the split exactly once, in order."""
    count = len(views.samples.files)
    places = [
        [(0, i) for i in range(at, min(at + batch_size, count))]
        for at in range(0, count, batch_size)
    ]
    yield from DataLoader(views, batch_sampler=places, **loader_options())


def loader_options() -> dict[str, object]:
    """Return worker processes and pinning that suit the machine; they never change a batch."""
    cuda = torch.cuda.is_available()
    workers = min(12, len(os.sched_getaffinity(0)) - 1) if cuda else 0
    return {"num_workers": workers, "pin_memory": cuda}
