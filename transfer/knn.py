"""Classification by the nearest training images: features, neighbours, votes."""

import logging
from typing import TYPE_CHECKING

import torch

from mae_bench.core.files import record_facts
from mae_bench.core.recipe import Context
from mae_bench.kit.evaluation import PREDICTIONS, Predictions, predictions_of
from mae_bench.kit.features import Features, frozen_features
from mae_bench.kit.knn import BANK, QUERIES, K, Neighbours, neighbours
from mae_bench.kit.machine import start
from mae_bench.kit.samples import Samples, read_samples
from transfer.classification import inputs

if TYPE_CHECKING:
    from transfer.imagenet_knn import ImagenetKnn

log = logging.getLogger(__name__)

KS = (10, 20, 100, 200)
"""Numbers of neighbours, as in the reference code of Caron et al. 2021."""


def nearest_neighbours(recipe: "ImagenetKnn", ctx: Context) -> dict[str, float]:
    """Return the top-1 accuracy for each number of neighbours; keep the predictions of 20.

    All ranks compute features; the first counts the votes.
    """
    machine = start(ctx.out)
    encoder, train = inputs(ctx, recipe.image_size, machine)
    assert ctx.data is not None
    val = read_samples(ctx.data, "val")
    bank = frozen_features(encoder, train, machine)
    queries = frozen_features(encoder, val, machine)
    metrics: dict[str, float] = {}
    if machine.ranks.first:
        found = _found(bank, queries, machine.ranks.device)
        for k in KS:
            predictions = _predictions(recipe, k, found, train, val)
            metrics[f"knn{k}"] = predictions.accuracy()
            if k == K:
                predictions.write(ctx.out / PREDICTIONS)
        record_facts(ctx.out, deviations=_deviations(len(train)))
    machine.ranks.wait()
    return metrics


def _found(bank: Features, queries: Features, device: torch.device) -> Neighbours:
    """Return the nearest training images of every validation image, as many as any k wants."""
    return neighbours(bank.blocks(BANK), queries.rows().to(device), max(KS))


def _predictions(
    recipe: "ImagenetKnn", k: int, found: Neighbours, train: Samples, val: Samples
) -> Predictions:
    """Return what k neighbours say of the validation images; their shares of votes sum to 1."""
    labels = torch.from_numpy(train.labels).to(found.index.device)
    votes = (
        found.part(slice(at, at + QUERIES)).votes(labels, len(train.classes), k, recipe.temperature)
        for at in range(0, len(val), QUERIES)
    )
    return predictions_of(val, (part / part.sum(dim=1, keepdim=True) for part in votes))


def _deviations(count: int) -> list[str]:
    """Return which numbers of neighbours there are not enough images for."""
    return [f"all {count} training images vote for k = {k}" for k in KS if count < k]
