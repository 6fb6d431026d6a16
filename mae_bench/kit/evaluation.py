"""How a classifier does on a split: each image once, whatever the ranks, and kept one by one."""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from mae_bench.core.files import write_bytes
from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.images import normalize
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.samples import Samples
from mae_bench.kit.spec import IMAGENET_MEAN, IMAGENET_STD

PREDICTIONS = "predictions.parquet"
ALONE = Ranks(0, 1, torch.device("cpu"))
TOP = 5


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of every image of a split, in the split's order."""

    names: tuple[str, ...]
    labels: Int[ndarray, " images"]
    top: Int[ndarray, "images top"]
    """The classes of the largest logits, largest first."""
    probability: Float[ndarray, " images"]
    """Given to the label by the softmax."""

    def accuracy(self, k: int = 1) -> float:
        """Return the percentage of images whose label is among the k largest logits."""
        right = (self.top[:, :k] == self.labels[:, None]).any(axis=1)
        return 100.0 * int(right.sum()) / len(right)

    def write(self, path: Path) -> None:
        """Write columns image, label, top1 to top5 and probability, a line for each image."""
        columns = {"image": list(self.names), "label": self.labels}
        columns |= {f"top{k + 1}": self.top[:, k] for k in range(self.top.shape[1])}
        stream = io.BytesIO()
        pq.write_table(pa.table({**columns, "probability": self.probability}), stream)
        write_bytes(path, stream.getbuffer())


def predictions_of(
    samples: Samples, blocks: Iterable[Float[Tensor, "images classes"]]
) -> Predictions:
    """Return the predictions of a classifier that gives each class a share, 1 over all classes.

    The blocks are of the samples in order; of classes with the same share the first is taken.
    """
    top, given, start = [], [], 0
    for shares in blocks:
        labels = torch.from_numpy(samples.labels[start : start + len(shares)]).to(shares.device)
        falling = shares.sort(dim=1, descending=True, stable=True).indices
        top.append(falling[:, :TOP].cpu().numpy())
        given.append(shares.gather(1, labels[:, None])[:, 0].float().cpu().numpy())
        start += len(shares)
    names = tuple(samples.short_name(index) for index in range(len(samples)))
    return Predictions(names, samples.labels, np.concatenate(top), np.concatenate(given))


def read_accuracy(path: Path, images: int) -> float | None:
    """Return the top-1 accuracy of predictions kept in a file, None if it is not of so many."""
    try:
        table = pq.read_table(path, columns=["label", "top1"])
    except (OSError, pa.ArrowException):
        return None
    right = table["label"].to_numpy() == table["top1"].to_numpy()
    return 100.0 * int(right.sum()) / images if len(right) == images > 0 else None


@torch.no_grad()
def predict(
    model: nn.Module,
    views: Views,
    ranks: Ranks = ALONE,
    unreadable: Literal["refuse", "replace"] = "refuse",
) -> Predictions:
    """Return the predictions on all images; every rank must call it, and the first gets them all.

    Each rank takes every so many-th image, so that none is counted twice; the others get the
    predictions of their own. Images are normalised as the model's `spec` says.
    """
    mean, std = model.spec.pixels if hasattr(model, "spec") else (IMAGENET_MEAN, IMAGENET_STD)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    chosen = range(ranks.rank, len(views.samples), ranks.world)
    rows: list[tuple[list[int], float]] = []
    for images, labels in eval_batches(views, chosen, unreadable=unreadable):
        logits = model(normalize(images.to(device), mean, std)).float()
        top = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
        given = logits.softmax(dim=1).gather(1, labels.to(device)[:, None])[:, 0]
        rows += zip(top.tolist(), given.tolist(), strict=True)
    model.train(was_training)
    return _collected(views, ranks.union(dict(zip(chosen, rows, strict=True))))


def _collected(views: Views, rows: dict[int, tuple[list[int], float]]) -> Predictions:
    """Return the rows in the split's order; each index is there once, as keys are."""
    indices = sorted(rows)
    samples = views.samples
    return Predictions(
        tuple(samples.short_name(index) for index in indices),
        samples.labels[indices],
        np.array([rows[index][0] for index in indices]),
        np.array([rows[index][1] for index in indices], dtype=np.float32),
    )
