"""Accuracy of an encoder's features by their nearest neighbours, without any training."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize as unit

from mae_bench.kit.datasets import Views
from mae_bench.kit.features import pooled_batches
from mae_bench.kit.images import eval_view
from mae_bench.kit.machine import whole_float32
from mae_bench.kit.samples import Samples, read_samples
from mae_bench.kit.vit import VisionTransformer

MOST_TRAIN, MOST_VAL = 20_000, 5_000
"""Images taken of each split, evenly spread: enough to see a run go wrong."""
BANK, QUERIES = 16_384, 1024
"""Features of each side in one product: 64 MiB of similarities, however large the splits are."""
K = 20
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Neighbours:
    """For each query the nearest features of the bank, nearest first; of equals the first ones."""

    similarity: Float[Tensor, "queries k"]
    """Cosine."""
    index: Int[Tensor, "queries k"]
    """Place in the bank."""

    def votes(
        self,
        labels: Int[Tensor, " bank"],
        num_classes: int,
        k: int = K,
        temperature: float = TEMPERATURE,
    ) -> Float[Tensor, "queries classes"]:
        """Return the votes of the k nearest for each class, weighted by exp(cosine / temperature).

        Wu et al. 2018 (arXiv 1805.01978), section 3.4. In float64, where no order of adding tells.
        """
        weights = (self.similarity[:, :k].double() / temperature).exp()
        votes = weights.new_zeros(len(weights), num_classes)
        return votes.scatter_add_(1, labels[self.index[:, :k]], weights)

    def part(self, rows: slice) -> "Neighbours":
        """Return the neighbours of some queries."""
        return Neighbours(self.similarity[rows], self.index[rows])


def neighbours(
    bank: Iterable[Float[Tensor, "_ width"]],
    queries: Float[Tensor, "queries width"],
    k: int,
    rows: int = QUERIES,
) -> Neighbours:
    """Return the k nearest of the bank for each query by cosine; all of a bank of fewer.

    The bank comes in blocks and is read once; queries are compared `rows` at a time. Memory is that
    of the queries, of their k nearest, and of one block's similarities to so many queries.
    """
    queries = unit(queries.float(), dim=1)
    values = queries.new_zeros(len(queries), 0)
    index = torch.zeros(len(queries), 0, dtype=torch.long, device=queries.device)
    start = 0
    with whole_float32():
        for block in bank:
            columns = unit(block.to(queries.device).float(), dim=1).T
            places = torch.arange(start, start + columns.shape[1], device=queries.device)
            kept = []
            for before, earlier, some in zip(
                values.split(rows), index.split(rows), queries.split(rows), strict=True
            ):
                found, there = _largest(some @ columns, places.expand(len(some), -1), k)
                both = torch.cat([before, found], dim=1), torch.cat([earlier, there], dim=1)
                kept.append(_largest(*both, k))
            values, index = (torch.cat(part) for part in zip(*kept, strict=True))
            start += columns.shape[1]
    return Neighbours(*_in_order(values, index))


def knn_accuracy(
    bank: Float[Tensor, "train width"],
    bank_labels: Int[Tensor, " train"],
    queries: Float[Tensor, "val width"],
    labels: Int[Tensor, " val"],
) -> float:
    """Return the percentage of queries whose K nearest neighbours vote for their label.

    K and TEMPERATURE are those of DINO (Caron et al. 2021, arXiv 2104.14294).
    """
    found = neighbours(bank.split(BANK), queries, K)
    correct, num_classes = 0, int(bank_labels.max()) + 1
    for at in range(0, len(queries), QUERIES):
        rows = slice(at, at + QUERIES)
        votes = found.part(rows).votes(bank_labels, num_classes)
        correct += int((votes.argmax(dim=1) == labels[rows]).sum())
    return 100.0 * correct / len(queries)


def encoder_knn(model: VisionTransformer, data: Path) -> float:
    """Return the k-NN accuracy of the pooled token on a part of the data, in percent."""
    was_training = model.training
    model.eval()
    train = spread(read_samples(data, "train"), MOST_TRAIN)
    val = spread(read_samples(data, "val"), MOST_VAL)
    accuracy = knn_accuracy(*_features(model, train), *_features(model, val))
    model.train(was_training)
    return accuracy


def spread(samples: Samples, most: int) -> Samples:
    """Return at most that many samples, evenly spread over all."""
    if len(samples) <= most:
        return samples
    kept = np.linspace(0, len(samples) - 1, most).round().astype(np.int64)
    return samples.subset(kept)


def _features(model: VisionTransformer, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return the pooled tokens and labels of all images, on the model's device."""
    device = next(model.parameters()).device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    views = Views(samples, eval_view(model.spec.image_size), seed=0)
    features = torch.cat(list(pooled_batches(model, views, range(len(samples)), dtype)))
    return features, torch.from_numpy(samples.labels).to(device)


def _largest(
    values: Float[Tensor, "rows columns"], places: Int[Tensor, "rows columns"], k: int
) -> tuple[Float[Tensor, "rows k"], Int[Tensor, "rows k"]]:
    """Return the k largest of each row and their places; of equal ones those of the first places.

    topk alone takes any of equal ones, so that the blocks would decide who votes.
    """
    wide = values.shape[1] > k
    top, column = values.topk(k + 1 if wide else values.shape[1], dim=1)
    there = places.gather(1, column)
    if wide:
        tied = top[:, k - 1] == top[:, k]
        if tied.any():
            some, theirs = _in_order(values[tied], places[tied])
            top[tied], there[tied] = some[:, : k + 1], theirs[:, : k + 1]
    return top[:, :k], there[:, :k]


def _in_order(
    values: Float[Tensor, "rows columns"], places: Int[Tensor, "rows columns"]
) -> tuple[Float[Tensor, "rows columns"], Int[Tensor, "rows columns"]]:
    """Return both in falling order of the values, and equal ones in rising order of the places."""
    places, order = places.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, places.gather(1, order)
