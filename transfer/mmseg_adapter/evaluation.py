"""A trained segmenter scored by mmengine's test loop; its predictions and areas are kept."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from mmengine.evaluator import BaseMetric, Evaluator
from PIL import Image
from torch import nn

from mae_bench.core.files import append_metrics, record_facts, write_bytes
from mae_bench.core.recipe import Context
from mae_bench.kit.machine import Machine
from mae_bench.kit.pace import Pace
from transfer.figure_regions import IGNORED
from transfer.miou import Areas, areas, class_ious, total
from transfer.mmseg_adapter.data import eval_loader
from transfer.mmseg_adapter.labels import LoadLabels
from transfer.mmseg_adapter.model import ignored_index
from transfer.mmseg_adapter.training import runner_of
from transfer.segmentation_figures import Segmented, segmentation_figures

if TYPE_CHECKING:
    from transfer.segmentation import SegmentationRecipe

PER_IMAGE = "per_image.parquet"
"""One row for each image and class that occurs in it: name, class, areas in pixels."""
PREDICTIONS = "predictions"
"""Folder of PNGs of class indices, 16 bit above 255 classes, named as the images."""


def evaluate(
    recipe: "SegmentationRecipe", segmenter: nn.Module, dataset: Any, ctx: Context, machine: Machine
) -> dict[str, float]:
    """Return the mean IoU in percent over the classes that occur, on the first rank; {} on others.

    Leaves predictions/, per_image.parquet, figures/ and facts in ctx.out.
    """
    if machine.ranks.first:
        shutil.rmtree(ctx.out / PREDICTIONS, ignore_errors=True)  # of an attempt before
    machine.ranks.wait()
    metric = AreaMetric(ctx.out, recipe.iterations, dataset, machine)
    runner = runner_of(
        segmenter,
        ctx.out / "mmengine",
        test_dataloader=eval_loader(dataset, machine),
        test_cfg={},
        test_evaluator=Evaluator(metric),
    )
    found: dict[str, float] = runner.test()
    if not machine.ranks.first:
        return {}
    labels = LoadLabels(recipe.reduce_zero_label, len(metric.classes))
    segmentation_figures(
        metric.segmented, metric.classes, metric.per_class, ctx.out, _drawn(labels)
    )
    return found


class AreaMetric(BaseMetric):  # type: ignore[misc] # mmengine has no types
    """Counts each image's areas, keeps its prediction, and sums over all ranks.

    mmengine's own gathering assumes equally many images on each rank and cuts the rest off.
    """

    def __init__(self, out: Path, steps: int, dataset: Any, machine: Machine) -> None:
        super().__init__()
        self.out, self.steps, self.ranks = out, steps, machine.ranks
        self.classes: Sequence[str] = dataset.metainfo["classes"]
        self.folder = Path(dataset.data_prefix["img_path"])
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        self.places = {info["img_path"]: i for i, info in enumerate(infos)}
        self.truths = {self._name(one["img_path"]): Path(one["seg_map_path"]) for one in infos}
        self.pace = Pace()
        self.segmented: list[Segmented] = []
        """The first rank's account of every image, once evaluated."""
        self.per_class: dict[str, float | None] = {}
        """IoU of each class in percent, None for one that does not occur."""

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count the areas of a batch and write its predictions."""
        number = len(self.classes)
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze(0)
            truth = sample["gt_sem_seg"]["data"].squeeze(0).to(predicted.device)
            counted = areas(predicted, truth, number, ignored_index(number))
            name = self._name(sample["img_path"])
            path = self.out / PREDICTIONS / Path(name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            kind = np.uint8 if number <= 255 else np.uint16
            Image.fromarray(predicted.cpu().numpy().astype(kind)).save(path)
            self.results.append((self.places[sample["img_path"]], name, counted))
        if self.ranks.first and self.pace.log_due():
            done = min(len(self.results) * self.ranks.world, len(self.places))
            of = f"{done} of {len(self.places)} images"
            append_metrics(self.out, step=self.steps, steps=self.steps, evaluated=of)

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the metrics over the images of all ranks; ValueError unless each counts once."""
        own = {place: (name, counted) for place, name, counted in self.results}
        found = self.ranks.union(own)
        if len(own) != len(self.results) or len(found) != size:
            raise ValueError(f"{len(found)} images were evaluated, expected each of {size} once")
        self.results.clear()
        metrics = self.compute_metrics([found[place] for place in sorted(found)])
        self.ranks.wait()
        return metrics

    def compute_metrics(self, results: list[tuple[str, Areas]]) -> dict[str, float]:
        """Return the mean IoU in percent; the first rank leaves the areas and IoUs of classes."""
        whole = total([counted for _, counted in results])
        ious = class_ious(whole)
        if not len(whole.occurring):
            raise ValueError(f"every pixel of the labels of {self.folder} counts for nothing")
        self.per_class = {
            name: None if np.isnan(value) else round(100.0 * float(value), 2)
            for name, value in zip(self.classes, ious, strict=True)
        }
        accuracy = 100.0 * int(whole.intersection.sum()) / int(whole.truth.sum())
        if self.ranks.first:
            _write_areas(self.out / PER_IMAGE, results)
            record_facts(self.out, iou=self.per_class, pixel_accuracy=accuracy)
            self.segmented = [self._account(name, counted) for name, counted in results]
        return {"miou": 100.0 * float(np.nanmean(ious))}

    def _name(self, path: str) -> str:
        """Return an image's name below the folder of images."""
        return Path(path).relative_to(self.folder).as_posix()

    def _account(self, name: str, counted: Areas) -> Segmented:
        """Return where an image's files are, and its own mean IoU."""
        ious = class_ious(counted)[counted.occurring]
        return Segmented(
            image=self.folder / name,
            truth=self.truths[name],
            prediction=self.out / PREDICTIONS / Path(name).with_suffix(".png"),
            miou=100.0 * float(ious.mean()) if len(ious) else float("nan"),
        )


def _write_areas(path: Path, results: list[tuple[str, Areas]]) -> None:
    """Write a row for each image and class that occurs in it."""
    columns: dict[str, list[Any]] = {
        name: [] for name in ("image", "class", "intersection", "prediction", "truth")
    }
    for name, counted in results:
        there = counted.occurring
        columns["image"] += [name] * len(there)
        columns["class"] += there.tolist()
        for kind in ("intersection", "prediction", "truth"):
            columns[kind] += getattr(counted, kind)[there].tolist()
    write_bytes(path, pd.DataFrame(columns).to_parquet(index=False))


def _drawn(labels: LoadLabels) -> Callable[[Path], np.ndarray]:
    """Return what reads a truth for a figure, in which ignored pixels have a label of their own."""

    def read(path: Path) -> np.ndarray:
        found = labels.read(path)
        return np.where(found == ignored_index(labels.num_classes), IGNORED, found)

    return read
