"""A detector scored on COCO's validation images, and a picture of what it found."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from faster_coco_eval import COCO, COCOeval_faster
from PIL import Image
from pycocotools import mask as coco_mask
from torch import nn

from mae_bench.core.files import append_metrics, write_json
from mae_bench.core.recipe import Context
from mae_bench.kit.decode import read_image
from mae_bench.kit.pace import Pace
from transfer.dense_figure import Outline, draw_outlines, side_by_side
from transfer.detectron2_adapter.data import Split, eval_mapper, read_split

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

BATCH = 8
FIGURE_IMAGES = 6
FIGURE_SCORE = 0.3


def evaluate(recipe: "DetectionRecipe", detector: nn.Module, ctx: Context) -> dict[str, float]:
    """Return box_ap and mask_ap in percent; leave predictions.json and figures/detections.png."""
    assert ctx.data is not None
    split = read_split(ctx.data, "val2017")
    predictions = predict(recipe, detector, split, ctx)
    write_json(ctx.out / "predictions.json", predictions)
    save_figure(split, predictions, ctx)
    return {
        "box_ap": 100.0 * coco_stats(split, predictions, "bbox")[0],
        "mask_ap": 100.0 * coco_stats(split, predictions, "segm")[0],
    }


@torch.no_grad()
def predict(
    recipe: "DetectionRecipe", detector: nn.Module, split: Split, ctx: Context
) -> list[dict[str, Any]]:
    """Return every detection in COCO's result format, under COCO's category ids."""
    detector.eval()
    mapper, pace, found = eval_mapper(recipe), Pace(), []
    for start in range(0, len(split.records), BATCH):
        inputs = [mapper(record) for record in split.records[start : start + BATCH]]
        for one, output in zip(inputs, detector(inputs), strict=True):
            instances = output["instances"].to("cpu")
            found += instances_to_coco_json(instances, one["image_id"])
        if pace.log_due():
            done = f"{start + len(inputs)} of {len(split.records)} images"
            steps = recipe.iterations
            append_metrics(ctx.out, step=steps, steps=steps, evaluated=done)
    for detection in found:
        detection["category_id"] = split.category_ids[detection["category_id"]]
    return found


def coco_stats(split: Split, predictions: list[dict[str, Any]], kind: str) -> list[float]:
    """Return COCO's 12 numbers in [0, 1] for boxes ("bbox") or masks ("segm").

    Without any prediction all are 0; COCO's -1 for sizes that do not occur stays -1.
    """
    if not predictions:
        return [0.0] * 12
    truth = COCO(json.loads(split.annotations.read_bytes()))
    if kind == "segm":  # with a box the area of a detection would be the box's, not the mask's
        predictions = [{k: v for k, v in one.items() if k != "bbox"} for one in predictions]
    scored = COCOeval_faster(
        truth, truth.loadRes(predictions), kind, print_function=lambda *_: None
    )
    scored.run()
    return [float(value) for value in scored.stats[:12]]


def save_figure(split: Split, predictions: list[dict[str, Any]], ctx: Context) -> None:
    """Write figures/detections.png: ground truth above, detections of score 0.3 and up below."""
    columns = []
    for record in split.records[:FIGURE_IMAGES]:
        image = read_image(record["file_name"])
        truth = [
            _outline(split, split.category_ids[one["category_id"]], one["segmentation"], image)
            for one in record["annotations"]
            if not one.get("iscrowd")
        ]
        found = [
            _outline(split, one["category_id"], one["segmentation"], image)
            for one in predictions
            if one["image_id"] == record["image_id"] and one["score"] >= FIGURE_SCORE
        ]
        columns.append((draw_outlines(image, truth), draw_outlines(image, found)))
    path = ctx.out / "figures" / "detections.png"
    path.parent.mkdir(exist_ok=True)
    side_by_side(columns, ("truth", "found")).save(path)


def _outline(split: Split, category_id: int, segmentation: Any, image: Image.Image) -> Outline:
    """Return class index, name and mask of one object."""
    index = split.category_ids.index(category_id)
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(
            coco_mask.frPyObjects(segmentation, image.height, image.width)
        )
    mask = np.asarray(coco_mask.decode(segmentation), bool)
    return Outline(index, split.category_names[index], mask)
