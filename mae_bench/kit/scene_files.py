"""Scenes written in the layouts of ImageNet, COCO and ADE20K."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.measure import find_contours

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.files import write_json
from mae_bench.kit.scene_textures import Split
from mae_bench.kit.scenes import STUFF, THINGS, Scene, landscape, portrait

CATEGORY_IDS = (1, 2, 4, 7, 11, 13, 18, 27)
"""COCO numbers its categories with gaps, so these have some too."""
CHUNK = 64
"""Images written by one call in a worker process."""
JPEG_QUALITY = 92

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Part:
    """A run of images of one kind and split, written by one worker."""

    root: Path
    sizes: DemoData
    split: Split
    first: int
    count: int


def make_demo(root: Path, sizes: DemoData, progress: Progress | None = None) -> None:
    """Make the demo data in root, the same bytes for the same sizes; a finished one stays as is.

    `progress(done, total)` is called with counts of images. The data is built beside root and
    renamed, so that an interrupted call leaves no half-made data set. Raises ValueError if root
    holds something else.
    """
    if root.exists():
        if _sizes_of(root) == asdict(sizes):
            return
        raise ValueError(
            f"{root} exists and holds no demo data of these sizes; remove it or name another folder"
        )
    part = root.with_name(f"{root.name}.part{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write_all(part, sizes, progress or (lambda done, total: None))
        write_json(part / "demo.json", asdict(sizes))
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_imagenet(part: Part) -> list[dict[str, Any]]:
    """Write classification images; the class of image i is i modulo the number of classes."""
    for i in range(part.first, part.first + part.count):
        rng = np.random.default_rng([part.sizes.seed, part.split == "val", 0, i])
        scene = portrait(part.split, part.sizes.image_side, i % len(THINGS), rng)
        wnid = f"n{i % len(THINGS) + 1:08d}"
        name = f"{wnid}_{i}" if part.split == "train" else f"ILSVRC2012_val_{i + 1:08d}"
        _save(scene, demo_roots(part.root)["imagenet"] / part.split / wnid / f"{name}.JPEG")
    return []


def write_scenes(part: Part) -> list[dict[str, Any]]:
    """Write the same scenes as COCO and as ADE20K images; return COCO's records."""
    roots = demo_roots(part.root)
    long = {"train": "training", "val": "validation"}[part.split]
    records = []
    for i in range(part.first, part.first + part.count):
        rng = np.random.default_rng([part.sizes.seed, part.split == "val", 1, i])
        scene = landscape(part.split, part.sizes.scene_side, rng)
        record = coco_record(scene, i, part.split)
        records.append(record)
        _save(scene, roots["coco"] / f"{part.split}2017" / record["image"]["file_name"])
        stem = f"ADE_{part.split}_{i + 1:08d}"
        _save(scene, roots["ade20k"] / "images" / long / f"{stem}.jpg")
        label = roots["ade20k"] / "annotations" / long / f"{stem}.png"
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ade_label(scene)).save(label)
    return records


def ade_label(scene: Scene) -> np.ndarray:
    """Return the label map: 0 ignored, 1.. THINGS, then STUFF; crowds are things like others."""
    label = np.where(scene.stuff > 0, scene.stuff + len(THINGS), 0).astype(np.uint8)
    for thing, mask in zip(scene.labels, scene.masks, strict=True):
        label[mask] = thing + 1
    return label


def coco_record(scene: Scene, index: int, split: Split) -> dict[str, Any]:
    """Return {image, annotations} of one scene; ids have gaps as in COCO."""
    image_id = 9 + 7 * index + (500_000 if split == "val" else 0)
    side = len(scene.pixels)
    image = {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": side, "height": side}
    annotations = [
        _annotation(mask, label, crowd) | {"id": image_id * 100 + n, "image_id": image_id}
        for n, (label, mask, crowd) in enumerate(
            zip(scene.labels, scene.masks, scene.crowds, strict=True), start=1
        )
    ]
    return {"image": image, "annotations": annotations}


def _annotation(mask: np.ndarray, label: int, crowd: bool) -> dict[str, Any]:
    """Return area, box and outline: polygons, or run lengths for crowds and masks with holes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]
    outlines = polygons(mask)
    return {
        "category_id": CATEGORY_IDS[label],
        "iscrowd": int(crowd),
        "area": int(mask.sum()),
        "bbox": box,
        "segmentation": run_lengths(mask) if crowd or outlines is None else outlines,
    }


def polygons(mask: np.ndarray) -> list[list[float]] | None:
    """Return the outlines as [x0, y0, x1, y1, ...] in pixels, or None if the mask has holes.

    COCO's polygons run in coordinates where pixel (0, 0) covers [0, 1) x [0, 1).
    """
    outlines = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        y, x = contour[:-1].T - 0.5
        if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) < 0:  # runs around a hole
            return None
        flat = np.stack([x, y], axis=1).round(1).flatten().tolist()
        if len(flat) >= 6:
            outlines.append(flat)
    return outlines or None


def run_lengths(mask: np.ndarray) -> dict[str, Any]:
    """Return COCO's uncompressed run lengths: column by column, the first run counts zeros."""
    flat = np.concatenate([[False], mask.flatten(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    ends = (
        [*changes.tolist(), mask.size]
        if (not changes.size or changes[-1] != mask.size)
        else (changes.tolist())
    )
    return {"size": list(mask.shape), "counts": np.diff([0, *ends]).tolist()}


def _write_all(root: Path, sizes: DemoData, progress: Progress) -> None:
    """Write every file, in as many processes as there are cores."""
    work: list[tuple[Callable[[Part], list[dict[str, Any]]], Part]] = []
    counts = {
        "train": (sizes.num_train_images, sizes.num_train_scenes),
        "val": (sizes.num_val_images, sizes.num_val_scenes),
    }
    for split, (num_images, num_scenes) in counts.items():
        for writer, total in ((write_imagenet, num_images), (write_scenes, num_scenes)):
            for first in range(0, total, CHUNK):
                part = Part(root, sizes, split, first, min(CHUNK, total - first))  # type: ignore[arg-type]
                work.append((writer, part))
    records: dict[str, list[dict[str, Any]]] = {"train": [], "val": []}
    done, total = 0, sum(part.count for _, part in work)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(writer, part) for writer, part in work]
        for (_, part), job in zip(work, jobs, strict=True):
            records[part.split] += job.result()
            done += part.count
            progress(done, total)
    for split, found in records.items():
        _write_annotations(demo_roots(root)["coco"], split, found)
    _write_object_info(demo_roots(root)["ade20k"])


def _write_annotations(root: Path, split: str, records: list[dict[str, Any]]) -> None:
    """Write instances_<split>2017.json."""
    categories = [
        {"id": i, "name": name, "supercategory": "shape"}
        for i, name in zip(CATEGORY_IDS, THINGS, strict=True)
    ]
    content = {
        "info": {"description": "mae-bench demo scenes"},
        "licenses": [],
        "images": [record["image"] for record in records],
        "annotations": [one for record in records for one in record["annotations"]],
        "categories": categories,
    }
    path = root / "annotations" / f"instances_{split}2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, separators=(",", ":")))


def _write_object_info(root: Path) -> None:
    """Write the table of classes as ADE20K's objectInfo150.txt has it."""
    rows = ["Idx\tRatio\tTrain\tVal\tName"]
    rows += [f"{i}\t0.0000\t0\t0\t{name}" for i, name in enumerate((*THINGS, *STUFF), start=1)]
    (root / "objectInfo150.txt").write_text("\n".join(rows) + "\n")


def _save(scene: Scene, path: Path) -> None:
    """Write the picture as JPEG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.pixels).save(path, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def _sizes_of(root: Path) -> dict[str, Any] | None:
    """Return what the finished demo data in root was made with."""
    try:
        sizes: dict[str, Any] = json.loads((root / "demo.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return sizes
