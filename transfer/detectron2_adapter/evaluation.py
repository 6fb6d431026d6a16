"""A detector scored by COCO's numbers, each test image once whatever the ranks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.utils import comm
from faster_coco_eval import COCO, COCOeval_faster
from pycocotools import mask as coco_mask

from mae_bench.core.files import record_facts, write_bytes
from transfer.detection_figures import detection_figures
from transfer.detectron2_adapter.data import DetectionData, Split, have_masks, read_split
from transfer.detectron2_adapter.matches import MATCHES, Matches, all_matches, write_matches

Kind = str
"""`bbox` or `segm`."""
METRICS = {"bbox": "box_ap", "segm": "mask_ap"}
STATS = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
"""COCO's 12 numbers in its order."""
NO_MASK = {"size": [1, 1], "counts": "1"}
"""Run lengths of one empty pixel."""


@dataclass(frozen=True)
class Scores:
    """COCO's numbers of one kind."""

    stats: list[float]
    """The 12 in [0, 1]; -1 for sizes that do not occur."""
    per_class: dict[str, float | None]
    """Category -> AP in percent, None for one without an object."""
    matches: Matches
    """Of every image, from which the AP of any sample of them follows."""

    @property
    def named(self) -> dict[str, float | None]:
        """Return the 12 by name, in percent; None for sizes that do not occur."""
        pairs = zip(STATS, self.stats, strict=True)
        return {name: None if value < 0 else 100.0 * value for name, value in pairs}


def coco_data(root: Path) -> DetectionData:
    """Return a COCO-format data set, whose classes are those of its training annotations.

    Raises ValueError if the test annotations have other categories.
    """
    train, test = read_split(root, "train"), read_split(root, "val")
    for what in ("category_ids", "category_names"):
        if getattr(train, what) != getattr(test, what):
            raise ValueError(
                f"{test.annotations} has other categories than {train.annotations}: {what} "
                f"{getattr(test, what)}, expected {getattr(train, what)}"
            )
    masks = have_masks(train.records, train.annotations)
    return DetectionData(
        train=train.records,
        test=test.records,
        class_names=train.category_names,
        masks=masks,
        evaluator=lambda out: CocoEvaluator(test, out, ("bbox", "segm") if masks else ("bbox",)),
    )


class CocoEvaluator(DatasetEvaluator):  # type: ignore[misc] # detectron2 has no types
    """Gathers what all ranks found and scores it with faster-coco-eval on the first.

    evaluate() leaves predictions.json, matches.parquet, the 12 numbers and the AP of each class in
    facts.json, and figures; it returns box_ap and, with masks, mask_ap in percent, None on the
    other ranks.
    """

    def __init__(self, split: Split, out: Path, kinds: tuple[Kind, ...]) -> None:
        self.split, self.out, self.kinds = split, out, kinds
        self.reset()

    def reset(self) -> None:
        """Forget what was found."""
        self.images: list[Any] = []
        self.found: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Take what the model found in some images."""
        for one, output in zip(inputs, outputs, strict=True):
            self.images.append(one["image_id"])
            instances = output["instances"].to("cpu")
            for detection in instances_to_coco_json(instances, one["image_id"]):
                detection["category_id"] = self.split.category_ids[detection["category_id"]]
                self.found.append(detection)

    def evaluate(self) -> dict[str, float] | None:
        """Return the metrics on the first rank; every rank must call it."""
        gathered = comm.gather((self.images, self.found), dst=0)
        if not comm.is_main_process():
            return None
        images = [image for part, _ in gathered for image in part]
        assert sorted(images) == sorted(one["image_id"] for one in self.split.records)
        predictions = [detection for _, part in gathered for detection in part]
        write_bytes(self.out / "predictions.json", json.dumps(predictions).encode())
        scores = {kind: coco_scores(self.split, predictions, kind) for kind in self.kinds}
        write_matches(self.out / MATCHES, {kind: one.matches for kind, one in scores.items()})
        record_facts(
            self.out,
            coco={kind: one.named for kind, one in scores.items()},
            class_ap={kind: one.per_class for kind, one in scores.items()},
        )
        detection_figures(self.split, predictions, scores["bbox"].per_class, self.out)
        return {METRICS[kind]: 100.0 * one.stats[0] for kind, one in scores.items()}


def coco_stats(split: Split, predictions: list[dict[str, Any]], kind: Kind) -> list[float]:
    """Return COCO's 12 numbers in [0, 1] for boxes ("bbox") or masks ("segm").

    Without any prediction all are 0; COCO's -1 for sizes that do not occur stays -1.
    """
    return coco_scores(split, predictions, kind).stats


def coco_scores(split: Split, predictions: list[dict[str, Any]], kind: Kind) -> Scores:
    """Return COCO's numbers for boxes ("bbox") or masks ("segm").

    Without any prediction all are 0; COCO's -1 for sizes that do not occur stays -1.
    """
    truth = COCO(json.loads(split.annotations.read_bytes()))
    if not predictions:
        return Scores([0.0] * 12, _nothing_found(truth, split), all_matches(truth, COCO(), {}))
    found = truth.loadRes(predictions) if kind == "bbox" else _masks(truth, predictions)
    scored = COCOeval_faster(
        truth, found, kind, print_function=lambda *_: None, rle_iou_max_workers=1
    )
    scored.run()
    precision = scored.eval["precision"][:, :, :, 0, -1]  # all sizes, 100 detections an image
    assert list(scored.params.catIds) == list(split.category_ids)
    per_class = {
        name: _mean_percent(precision[:, :, i]) for i, name in enumerate(split.category_names)
    }
    matches = all_matches(truth, found, scored.ious)
    return Scores([float(value) for value in scored.stats[:12]], per_class, matches)


def _masks(truth: Any, predictions: list[dict[str, Any]]) -> Any:
    """Return detections with their masks' areas, and masks where they are compared with any.

    A class that is not in the image has no mask to compare with. loadRes takes much longer.
    """
    there = {(one["image_id"], one["category_id"]) for one in truth.dataset["annotations"]}
    annotations = []
    for i, one in enumerate(predictions, start=1):
        area = coco_mask.area(one["segmentation"])
        scored = one | {"id": i, "iscrowd": 0, "bbox": [], "area": area}
        if (one["image_id"], one["category_id"]) not in there:
            scored["segmentation"] = NO_MASK
        annotations.append(scored)
    found = COCO()
    found.dataset = truth.dataset | {"annotations": annotations}
    found.createIndex()
    return found


def _mean_percent(precision: np.ndarray) -> float | None:
    """Return the mean of a class's precisions [thresholds, recalls] in percent; None without."""
    there = precision[precision > -1]
    return 100.0 * float(there.mean()) if there.size else None


def _nothing_found(truth: Any, split: Split) -> dict[str, float | None]:
    """Return an AP of 0 for each class that has an object, crowds left out as COCO does."""
    having = {
        one["category_id"] for one in truth.dataset["annotations"] if not one.get("iscrowd", 0)
    }
    pairs = zip(split.category_ids, split.category_names, strict=True)
    return {name: 0.0 if category_id in having else None for category_id, name in pairs}
