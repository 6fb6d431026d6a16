"""What a detector found, for people: fixed, best and worst images, and each class."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps
from pycocotools import mask as coco_mask

from mae_bench.kit.decode import read_image
from mae_bench.kit.figures import drawing, write_picture
from transfer.class_figure import class_figure
from transfer.figure_matching import OVERLAP, Boxes, Match, match
from transfer.figure_objects import Object, draw_objects
from transfer.figure_sheet import Exhibit, Heading, Size, sheet

SCORE = 0.3
"""Detections below it are neither drawn nor counted for best and worst."""
XYWH = 1
"""detectron2's BoxMode of COCO boxes; 0 is corners."""
RULE = (
    f"Left: truth, dashed where missed. Right: detections of score {SCORE} and up, dashed where no "
    f"object of the class overlaps by {OVERLAP:.0%}. Names where there is room."
)


class DetectionSplit(Protocol):
    """The images of a split with their objects, as detectron2 has them."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """Images: file_name, image_id, annotations with bbox, bbox_mode and class index."""

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The annotation file's id of each class."""

    @property
    def category_names(self) -> tuple[str, ...]:
        """The name of each class."""


@dataclass(frozen=True)
class Scene:
    """One image: what is there, and what was found."""

    record: dict[str, Any]
    truth: Boxes
    found: Boxes
    match: Match


@dataclass(frozen=True)
class Selection:
    """Which images a figure shows, and how large."""

    choose: Callable[[Sequence[Scene]], Sequence[Scene]]
    shows: str
    height: int


def detection_figures(
    split: DetectionSplit,
    predictions: Sequence[dict[str, Any]],
    per_class: Mapping[str, float | None],
    out: Path,
    metric: str = "box AP",
) -> None:
    """Draw detections.png, detections_best.png, detections_worst.png and classes.png.

    `predictions` are COCO results under the split's category ids, with masks or boxes alone;
    `per_class` is each class's `metric` in percent, None if it does not occur. They go to figures/
    in the job's folder `out`. What cannot be drawn is a warning, never an error.
    """
    scenes: list[Scene] = []
    for name, selection in SELECTIONS.items():
        with drawing(out, name) as path:
            scenes = scenes or _scenes(split, predictions)
            exhibits = [_exhibit(scene, split) for scene in selection.choose(scenes)]
            if not exhibits:
                raise ValueError("there are no images to draw")
            heading = Heading(selection.shows, RULE)
            write_picture(path, sheet(heading, exhibits, selection.height), selection.shows)
    with drawing(out, "classes.png") as path:
        class_figure(path, metric, per_class)


def fixed(scenes: Sequence[Scene]) -> Sequence[Scene]:
    """Return six images with objects, evenly from the whole split: the same for every detector."""
    some = [scene for scene in scenes if scene.match.objects] or list(scenes)
    return [some[i * len(some) // 6] for i in range(6)] if len(some) > 6 else some


def best(scenes: Sequence[Scene]) -> Sequence[Scene]:
    """Return up to four images of the better half by F1; of equals those with more found."""
    some = [scene for scene in scenes if scene.match.objects]
    return sorted(some, key=lambda one: (-one.match.f1, -one.match.hits))[: _most(some)]


def worst(scenes: Sequence[Scene]) -> Sequence[Scene]:
    """Return up to four images of the worse half by F1; of equals those with more errors."""
    return sorted(scenes, key=lambda one: (one.match.f1, -one.match.errors))[: _most(scenes)]


def _most(scenes: Sequence[Scene]) -> int:
    """Return how many images to show, so that none is among the best and the worst."""
    return min(4, max(1, len(scenes) // 2))


SELECTIONS = {
    "detections.png": Selection(fixed, "Truth and detections for fixed images", 235),
    "detections_best.png": Selection(best, "The images with the highest F1 of detections", 360),
    "detections_worst.png": Selection(worst, "The images with the lowest F1 of detections", 360),
}


def _scenes(split: DetectionSplit, predictions: Sequence[dict[str, Any]]) -> list[Scene]:
    """Return every image with its objects and its detections, the surest first."""
    found = defaultdict(list)
    for one in predictions:
        if one["score"] >= SCORE:
            found[one["image_id"]].append(one)
    classes = {category_id: i for i, category_id in enumerate(split.category_ids)}
    scenes = []
    for record in split.records:
        truth = _truth(record)
        detections = _detected(found[record["image_id"]], classes)
        scenes.append(Scene(record, truth, detections, match(truth, detections)))
    return scenes


def _truth(record: dict[str, Any]) -> Boxes:
    """Return the objects of an image, the largest first."""
    corners = []
    for one in record["annotations"]:
        a, b, c, d = map(float, one["bbox"])
        xywh = int(one.get("bbox_mode", XYWH)) == XYWH
        corners.append((a, b, a + c, b + d) if xywh else (a, b, c, d))
    boxes = np.array(corners, float).reshape(-1, 4)
    order = np.argsort(-(boxes[:, 2:] - boxes[:, :2]).prod(axis=1), kind="stable")
    sources = [record["annotations"][i] for i in order]
    return Boxes(
        boxes[order],
        np.array([one["category_id"] for one in sources], int),
        sources,
        np.array([bool(one.get("iscrowd")) for one in sources], bool),
    )


def _detected(found: list[dict[str, Any]], classes: Mapping[int, int]) -> Boxes:
    """Return the detections of an image, the surest first."""
    found = sorted(found, key=lambda one: -one["score"])
    boxes = np.array([one["bbox"] for one in found], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    indices = np.array([classes[one["category_id"]] for one in found], int)
    return Boxes(boxes, indices, found, np.zeros(len(found), bool))


def _exhibit(scene: Scene, split: DetectionSplit) -> Exhibit:
    """Return truth and detections of one image, to be painted."""
    image = _image(scene.record)
    names = split.category_names
    truth = [
        _object(scene.truth, i, names, image, bool(scene.match.found[i] or scene.truth.crowd[i]))
        for i in range(len(scene.truth.classes))
    ]
    right = scene.match.right | scene.match.ignored
    found = [
        _object(scene.found, i, names, image, bool(right[i]))
        for i in range(len(scene.found.classes))
    ]

    def paint(size: Size) -> Sequence[Image.Image]:
        return [draw_objects(image, objects, size) for objects in (truth, found)]

    count = scene.match.objects
    captions = (
        f"{count} object{'s' * (count != 1)} in {Path(scene.record['file_name']).name}",
        f"F1 {scene.match.f1:.2f}, {len(found)} found",
    )
    return Exhibit(image.size, captions, paint)


def _object(
    boxes: Boxes, i: int, names: Sequence[str], image: Image.Image, matched: bool
) -> Object:
    """Return one object, to be drawn."""
    source, index = boxes.sources[i], int(boxes.classes[i])
    score = f"{source['score']:.2f}" if "score" in source else ""
    name = f"{names[index]} (crowd)" if boxes.crowd[i] else names[index]
    left, top, right, bottom = map(float, boxes.corners[i])
    mask = _mask(source.get("segmentation"), image.size)
    return Object(index, name, score, (left, top, right, bottom), mask, matched)


def _mask(segmentation: Any, size: Size) -> np.ndarray | None:
    """Return polygons or run lengths as bool [height, width]; None without any."""
    if not segmentation:
        return None
    width, height = size
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    mask = np.asarray(coco_mask.decode(segmentation), bool)
    if mask.shape != (height, width):
        raise ValueError(f"a mask is {mask.shape[1]}x{mask.shape[0]}, its image {width}x{height}")
    return mask


def _image(record: dict[str, Any]) -> Image.Image:
    """Return the image as its annotations have it: turned where only that gives their size."""
    image = read_image(record["file_name"])
    size = (record.get("width", image.width), record.get("height", image.height))
    if image.size == size:
        return image
    with Image.open(record["file_name"]) as turned:
        return ImageOps.exif_transpose(turned).convert("RGB")
