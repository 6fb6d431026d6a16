"""Linear SVMs on frozen features: a cost for each class, then precision over recall."""

import io
import logging
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from numpy import ndarray
from torch import get_num_threads

from mae_bench.core.files import append_metrics, record_facts, write_bytes
from mae_bench.core.recipe import Context
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.evaluation import PREDICTIONS
from mae_bench.kit.facts import encoder_facts
from mae_bench.kit.features import frozen_features
from mae_bench.kit.fit import at_image_size
from mae_bench.kit.logistic import unit_rows
from mae_bench.kit.machine import start
from mae_bench.kit.samples import Samples
from mae_bench.kit.voc_files import MAIN_2007, VOC_CLASSES, read_ids, read_labels
from transfer.svm_solver import SvmTask, Trained, train_classes

if TYPE_CHECKING:
    from transfer.voc_classification import VocClassification

log = logging.getLogger(__name__)

SCORES = "scores"
"""In the job's folder: the scores of each class that is finished."""
RECALLS = tuple(step / 10 for step in range(11))
"""Where the challenge of 2007 looks at the precision."""


@dataclass(frozen=True)
class VocSplit:
    """The images of a list, and for each class whether they show it: 1, -1 or 0 for difficult."""

    samples: Samples
    labels: Int[ndarray, "images classes"]


def linear_svms(recipe: "VocClassification", ctx: Context) -> dict[str, float]:
    """Return the mean average precisions; a class finished before a kill is not trained again.

    All ranks compute features; the first trains the SVMs. Raises ValueError if no class has enough
    images.
    """
    assert ctx.encoder is not None
    assert ctx.data is not None
    machine = start(ctx.out)
    given = read_encoder(ctx.encoder)
    encoder = at_image_size(given, recipe.image_size)
    train, test = (read_split(ctx.data, split) for split in ("trainval", "test"))
    features = [frozen_features(encoder, one.samples, machine) for one in (train, test)]
    metrics: dict[str, float] = {}
    if machine.ranks.first:
        chosen = measurable(train.labels, test.labels, recipe.folds)
        counts = {"images": len(train.samples), "test_images": len(test.samples)}
        record_facts(
            ctx.out,
            encoder=encoder_facts(given, encoder),
            data={"classes": len(chosen), **counts},
            deviations=_deviations(chosen, recipe.folds),
        )
        rows, tests = (unit_rows(one.rows()).double().numpy() for one in features)
        found = _all_classes(recipe, ctx, chosen, (rows, train.labels, tests))
        _write(ctx.out, test, found)
        metrics = _means(ctx.out, found, test.labels)
    machine.ranks.wait()
    return metrics


def read_split(root: Path, split: str) -> VocSplit:
    """Return the images and labels of a list of VOC2007."""
    ids = read_ids(root, MAIN_2007, split)
    columns = [read_labels(root, MAIN_2007, split, name) for name in VOC_CLASSES]
    names = np.array([os.fsencode(f"{image}.jpg") for image in ids])
    none = np.zeros(len(ids), np.int64)
    samples = Samples(root / "VOC2007" / "JPEGImages", names, none, VOC_CLASSES)
    return VocSplit(samples, np.array(columns, np.int64).T)


def measurable(
    train: Int[ndarray, "images classes"], test: Int[ndarray, "others classes"], folds: int
) -> list[int]:
    """Return the classes that every fold can be trained on, and that the test images show.

    Raises ValueError if there is none.
    """
    enough = np.minimum((train > 0).sum(axis=0), (train <= 0).sum(axis=0)) >= folds
    chosen = np.flatnonzero(enough & (test > 0).any(axis=0)).tolist()
    if not chosen:
        raise ValueError(
            f"no class has {folds} training images with it, {folds} without it and a test image "
            f"with it; check the lists in {MAIN_2007}"
        )
    return [int(number) for number in chosen]


def average_precision(
    scores: Float[ndarray, " images"], labels: Int[ndarray, " images"]
) -> tuple[float, float]:
    """Return in percent the area under the interpolated precision over recall, and the challenge's.

    That of 2007 is the mean of the precisions at 11 recalls. The precision at a recall is the
    greatest at that recall or above (Everingham et al. 2010). Images with label 0 do not count; of
    equal scores the first comes first.
    """
    counted = labels != 0
    order = np.argsort(-scores[counted], kind="stable")
    right = labels[counted][order] == 1
    hits = np.cumsum(right)
    recall = hits / hits[-1]
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    area = float(best[right].sum() / hits[-1])  # recall rises by 1 / hits[-1] at each hit
    points = [float(best[recall >= level].max(initial=0.0)) for level in RECALLS]
    return 100.0 * area, 100.0 * float(np.mean(points))


def _all_classes(
    recipe: "VocClassification",
    ctx: Context,
    chosen: Sequence[int],
    data: tuple[ndarray, ndarray, ndarray],
) -> dict[int, Trained]:
    """Return what is found for each class, several at a time; each is kept once it is done."""
    rows, labels, tests = data
    folder = ctx.out / SCORES
    folder.mkdir(exist_ok=True)
    paths = {number: folder / f"{VOC_CLASSES[number]}.npz" for number in chosen}
    before = {number: _kept(path, len(tests)) for number, path in paths.items()}
    found = {number: trained for number, trained in before.items() if trained is not None}
    missing = {number: labels[:, number] for number in chosen if number not in found}
    task = SvmTask(recipe, ctx.seed, folder / "trainval.npy", folder / "test.npy")
    np.save(task.train, rows)
    np.save(task.test, tests)
    for number, trained in train_classes(task, missing, get_num_threads()):
        _keep(paths[number], trained)
        found[number] = trained
        log.info("%s: cost %g", VOC_CLASSES[number], trained.cost)
        append_metrics(ctx.out, step=len(found), steps=len(chosen))
    for path in (task.train, task.test):
        path.unlink()
    return {number: found[number] for number in chosen}


def _kept(path: Path, count: int) -> Trained | None:
    """Return what was kept of a class; None if there is nothing whole for so many test images."""
    try:
        with np.load(path) as kept:
            trained = Trained(kept["scores"], float(kept["cost"]), kept["tried"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return trained if len(trained.scores) == count else None


def _keep(path: Path, trained: Trained) -> None:
    """Write what was found for a class."""
    stream = io.BytesIO()
    np.savez(stream, scores=trained.scores, cost=trained.cost, tried=trained.tried)
    write_bytes(path, stream.getbuffer())


def _means(
    out: Path, found: dict[int, Trained], labels: Int[ndarray, "images classes"]
) -> dict[str, float]:
    """Return the means over the classes; leave each class's cost and precision in facts.json."""
    pairs = {n: average_precision(one.scores, labels[:, n]) for n, one in found.items()}
    table = {VOC_CLASSES[n]: {"ap": round(pairs[n][0], 3), "cost": found[n].cost} for n in found}
    record_facts(out, per_class=table)
    area, points = np.mean(list(pairs.values()), axis=0).tolist()
    return {"voc07_map": area, "voc07_map11": points}


def _write(out: Path, test: VocSplit, found: dict[int, Trained]) -> None:
    """Write columns image, then score and label of each class, a line for each test image."""
    count = len(test.samples)
    columns: dict[str, Any] = {"image": [test.samples.short_name(i) for i in range(count)]}
    for number, trained in found.items():
        columns[f"score_{VOC_CLASSES[number]}"] = trained.scores.astype(np.float32)
        columns[f"label_{VOC_CLASSES[number]}"] = test.labels[:, number].astype(np.int8)
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    write_bytes(out / PREDICTIONS, stream.getbuffer())


def _deviations(chosen: Sequence[int], folds: int) -> list[str]:
    """Return which classes are left out of the mean, if any."""
    absent = [name for n, name in enumerate(VOC_CLASSES) if n not in chosen]
    if not absent:
        return []
    return [
        f"mean over {len(chosen)} of {len(VOC_CLASSES)} classes: too few images (of {folds} for "
        f"training, 1 for testing) of {', '.join(absent)}"
    ]
