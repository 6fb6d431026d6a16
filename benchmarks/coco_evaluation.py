"""COCO's 12 numbers as the project computes them against pycocotools, from loaded predictions on.

python benchmarks/coco_evaluation.py [--images 1000] [--detections 100] [--rounds 3]
A set like COCO's: 80 classes, about 7 objects an image of 480x640 as polygons, some crowds; each
image has that many detections as run lengths. Both sides read the annotation file themselves.
"""

import argparse
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from side_by_side import medians, report

from transfer.detectron2_adapter.data import Split
from transfer.detectron2_adapter.evaluation import coco_stats

HEIGHT, WIDTH = 480, 640
CLASSES, OBJECTS = 80, 7
CORNERS = 24
GOALS = {"bbox": ("boxes", 5.0, 8.0), "segm": ("masks", 4.0, 5.0)}
Result = dict[str, Any]


def made(options: argparse.Namespace, folder: Path) -> tuple[Split, list[Result]]:
    """Return the set, whose annotation file goes into the folder, and detections in it."""
    rng = np.random.default_rng(0)
    categories = [{"id": i + 1 + i // 8, "name": f"class {i}"} for i in range(CLASSES)]
    ids = [category["id"] for category in categories]
    images, annotations, found = [], [], []
    for image_id in range(1, options.images + 1):
        images.append({"id": image_id, "height": HEIGHT, "width": WIDTH, "file_name": "x.jpg"})
        truth = [_truth(rng, image_id, ids) for _ in range(1 + rng.poisson(OBJECTS - 1))]
        annotations += truth
        found += _detections(rng, truth, ids, options.detections)
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    path = folder / "instances.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    names = tuple(category["name"] for category in categories)
    return Split(path, [], tuple(ids), names), json.loads(json.dumps(found))


def _truth(rng: np.random.Generator, image_id: int, ids: list[int]) -> Result:
    """Return an object with a polygon, or sometimes a crowd with plain run lengths."""
    side = 20.0 * 2 ** rng.uniform(0, 4)
    centre = rng.uniform(0, (WIDTH, HEIGHT))
    polygon = _polygon(rng, centre, side)
    rle = coco_mask.frPyObjects([polygon], HEIGHT, WIDTH)[0]
    area, box = float(coco_mask.area(rle)), coco_mask.toBbox(rle).tolist()
    crowd = int(rng.random() < 0.01)
    segmentation: Any = [polygon]
    if crowd:
        flat = coco_mask.decode(rle).ravel(order="F")
        ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
        counts = np.diff([0, *ends, flat.size]).tolist()
        segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    return {
        "image_id": image_id,
        "category_id": int(rng.choice(ids)),
        "segmentation": segmentation,
        "bbox": box,
        "area": area,
        "iscrowd": crowd,
    }


def _polygon(rng: np.random.Generator, centre: np.ndarray, side: float) -> list[float]:
    """Return the corners of a bulging shape, within the image."""
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    radius = side / 2 * (1 + 0.2 * np.sin(3 * angle + rng.uniform(0, 6)))
    points = centre + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.clip(points, 0, (WIDTH - 1, HEIGHT - 1)).round(2).ravel().tolist()


def _detections(
    rng: np.random.Generator, truth: list[Result], ids: list[int], count: int
) -> list[Result]:
    """Return detections of one image: some near its objects, the others anywhere, less sure."""
    found = []
    for number in range(count):
        one = truth[number % len(truth)]
        near = number < 3 * len(truth)
        left, top, width, height = one["bbox"]
        centre = np.array([left + width / 2, top + height / 2])
        side = max(width, height, 8.0)
        if near:
            centre, side = centre + rng.normal(0, 0.08, 2) * side, side * rng.uniform(0.8, 1.2)
        else:
            centre, side = rng.uniform(0, (WIDTH, HEIGHT)), 20.0 * 2 ** rng.uniform(0, 4)
        rle = coco_mask.frPyObjects([_polygon(rng, centre, side)], HEIGHT, WIDTH)[0]
        right = near and rng.random() < 0.7
        found.append(
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"] if right else int(rng.choice(ids)),
                "bbox": coco_mask.toBbox(rle).tolist(),
                "score": float(rng.beta(3, 2) if near else rng.beta(1, 8)),
                "segmentation": {**rle, "counts": rle["counts"].decode()},
            }
        )
    return found


def copied(found: list[Result]) -> list[Result]:
    """Return the detections for one evaluation: both libraries write into what they are given."""
    return [{**one, "segmentation": dict(one["segmentation"])} for one in found]


def reference(split: Split, found: list[Result], kind: str) -> list[float]:
    """Return pycocotools' 12 numbers."""
    if kind == "segm":  # as in coco_stats: the area of a detection is its mask's
        found = [{name: value for name, value in one.items() if name != "bbox"} for one in found]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(split.annotations))
        scored = COCOeval(truth, truth.loadRes(found), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return [float(value) for value in scored.stats]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lines = {}
    with tempfile.TemporaryDirectory() as folder:
        split, found = made(options, Path(folder))
        for kind, (title, goal, stretch) in GOALS.items():
            ours, theirs = (of(split, copied(found), kind) for of in (coco_stats, reference))
            worst = float(np.abs(np.subtract(ours, theirs)).max())
            if worst > 1e-9 or not 0.05 < theirs[0] < 1:
                raise SystemExit(f"{title}: the numbers differ by {worst}: {ours} and {theirs}")
            seconds = medians(
                {
                    "ours": lambda kind=kind: coco_stats(split, copied(found), kind),
                    "pycocotools": lambda kind=kind: reference(split, copied(found), kind),
                },
                options.rounds,
            )
            lines[title] = (
                f"{seconds['ours']:.2f} s against {seconds['pycocotools']:.2f} s, "
                f"{seconds['pycocotools'] / seconds['ours']:.1f}x (goal {goal:g}x, stretch "
                f"{stretch:g}x); AP {100 * theirs[0]:.1f}, the 12 numbers differ by {worst:.0e}"
            )
    report(f"COCO evaluation of {options.images} images, {len(found)} detections", lines)


if __name__ == "__main__":
    main()
