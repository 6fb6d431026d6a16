"""Accuracy of an encoder's features by their nearest neighbours, without any training."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize as unit

from mae_bench.kit.datasets import Views, eval_batches
from mae_bench.kit.images import eval_view, normalize
from mae_bench.kit.samples import Samples, read_samples
from mae_bench.kit.vit import VisionTransformer

MOST_TRAIN, MOST_VAL = 20_000, 5_000
"""Images taken of each split, evenly spread: enough to see a run go wrong."""
ROWS = 1024
K = 20
TEMPERATURE = 0.07


def knn_accuracy(
    bank: Float[Tensor, "train width"],
    bank_labels: Int[Tensor, " train"],
    queries: Float[Tensor, "val width"],
    labels: Int[Tensor, " val"],
) -> float:
    """Return the percentage of queries whose K nearest neighbours vote for their label.

    Votes are weighted by exp(cosine / TEMPERATURE) (Wu et al. 2018, arXiv 1805.01978, eq. 10; K as
    in DINO, Caron et al. 2021).
    """
    bank, classes = unit(bank, dim=1), int(bank_labels.max()) + 1
    correct = 0
    for at in range(0, len(queries), ROWS):
        similarity = unit(queries[at : at + ROWS], dim=1) @ bank.T
        nearest, index = similarity.topk(min(K, len(bank)), dim=1)
        votes = torch.zeros(len(nearest), classes, device=bank.device)
        votes.scatter_add_(1, bank_labels[index], (nearest / TEMPERATURE).exp())
        correct += int((votes.argmax(dim=1) == labels[at : at + ROWS]).sum())
    return 100.0 * correct / len(queries)


def encoder_knn(model: VisionTransformer, data: Path) -> float:
    """Return the k-NN accuracy of the pooled token on a part of the data, in percent."""
    was_training = model.training
    model.eval()
    bank, bank_labels = _features(model, spread(read_samples(data, "train"), MOST_TRAIN))
    queries, labels = _features(model, spread(read_samples(data, "val"), MOST_VAL))
    model.train(was_training)
    return knn_accuracy(bank, bank_labels, queries, labels)


def spread(samples: Samples, most: int) -> Samples:
    """Return at most that many samples, evenly spread over all."""
    if len(samples) <= most:
        return samples
    kept = np.linspace(0, len(samples) - 1, most).round().astype(np.int64)
    return samples.subset(kept)


@torch.no_grad()
def _features(model: VisionTransformer, samples: Samples) -> tuple[Tensor, Tensor]:
    """Return the cls tokens and labels of all images, on the model's device."""
    device = next(model.parameters()).device
    features, labels = [], []
    for images, label in eval_batches(Views(samples, eval_view(model.spec.image_size), seed=0)):
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            tokens = model(normalize(images.to(device), *model.spec.pixels))
            features.append(model.pooled(tokens).float())
        labels.append(label.to(device))
    return torch.cat(features), torch.cat(labels)
