"""Whether COCO-format annotations and images can be trained on.

COCO's own files pass: their two boxes without area, and edges a fraction of a pixel outside, are
left out or clipped by the toolbox and only reported.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mae_bench.kit.audit.outlines import Finding, Size, outline_fault
from mae_bench.kit.audit.pictures import size_faults
from mae_bench.kit.audit.problems import Fault, Progress, inspected, within_budget
from mae_bench.kit.coco_files import SPLITS, CocoSplit, coco_split

KEYS = {
    "images": ("id", "file_name", "width", "height"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "bbox", "segmentation", "area"),
}
"""What each entry of a list must have."""
CLIPPED = 2.0
CLIPPED_SHARE = 0.01
"""Pixels, or share of the side if that is more, up to which an edge outside is only clipped."""

Entry = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What the annotations of a file may refer to."""

    file: str
    sizes: dict[Any, Size]
    categories: frozenset[Any]


def coco_faults(root: Path, progress: Progress) -> Iterator[Fault]:
    """Yield everything that is wrong with both splits."""
    categories = {}
    for split in SPLITS:
        try:
            where = coco_split(root, split)
            content = _read(where.annotations)
        except ValueError as error:
            yield Fault("annotation files that cannot be read", str(error))
            continue
        known, faults = _known(where, content)
        yield from faults
        categories[split] = {
            (c["id"], c["name"]) for c in content["categories"] if _full("categories", c)
        }
        yield from _annotation_faults(content["annotations"], known)
        if split == "val":
            yield from _unmatched(content["annotations"], known.file)
        images = [image for image in content["images"] if _full("images", image)]
        found = inspected(partial(_image_faults, where), images, progress)
        yield from within_budget(found, len(images)) if split == "train" else found
    if len(categories) == 2 and categories["train"] != categories["val"]:
        odd = sorted(map(str, categories["train"] ^ categories["val"]))
        yield Fault("differences between the categories of the two splits", ", ".join(odd[:3]))


def _read(path: Path) -> dict[str, list[Any]]:
    """Return the three lists of an annotation file; ValueError if it has not."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); copy it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a table with {', '.join(KEYS)}")
    for key in KEYS:
        if not isinstance(content.get(key), list):
            raise ValueError(f"{path} has no list {key!r}, which COCO's format asks for")
        if not content[key] and key != "annotations":
            raise ValueError(f"{path} has an empty list {key!r}")
    return {key: content[key] for key in KEYS}


def _known(where: CocoSplit, content: dict[str, list[Any]]) -> tuple[Known, list[Fault]]:
    """Return what annotations may refer to, and the faults of the lists themselves."""
    file = where.annotations.name
    faults = []
    for key, entries in content.items():
        seen = set()
        for entry in entries:
            lacking = _lacking(key, entry)
            if lacking:
                faults.append(
                    Fault(f"entries of {key} without what they need", f"{file}: {lacking}")
                )
            elif entry["id"] in seen:
                faults.append(Fault(f"ids given twice in {key}", f"{file}: id {entry['id']}"))
            else:
                seen.add(entry["id"])
    images = [image for image in content["images"] if _full("images", image)]
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    categories = frozenset(c["id"] for c in content["categories"] if _full("categories", c))
    return Known(file, sizes, categories), faults


def _annotation_faults(annotations: list[Any], known: Known) -> Iterator[Fault]:
    """Yield what is wrong with annotations that have what they need."""
    for one in annotations:
        if not _full("annotations", one):
            continue
        size = known.sizes.get(one["image_id"])
        where = f"{known.file}: annotation {one['id']}"
        if one["category_id"] not in known.categories:
            yield Fault(
                "annotations of an unknown category", f"{where} has category {one['category_id']}"
            )
        if size is None:
            yield Fault("annotations of an unknown image", f"{where} has image {one['image_id']}")
            continue
        for fault in (box_fault(one["bbox"], size), outline_fault(one["segmentation"], size)):
            if fault is not None:
                kind, found, fatal = fault
                yield Fault(kind, f"{where} of image {one['image_id']} has {found}", fatal)


def _unmatched(annotations: list[Any], file: str) -> Iterator[Fault]:
    """Yield annotations that the evaluation would count as not found, however well they are.

    It notes matches by id, and 0 stands for none.
    """
    for one in annotations:
        if _full("annotations", one) and one["id"] == 0:
            yield Fault("annotations with id 0, which no detection can match", f"{file}: id 0")


def box_fault(box: Any, size: Size) -> Finding | None:
    """Return kind, finding and whether it is fatal of a box [x, y, width, height]; None: fine."""
    if not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box))):
        return "malformed boxes", f"box {str(box)[:60]}", True
    x, y, width, height = box
    if width < 0 or height < 0:
        return "malformed boxes", f"box {box}", True
    if width == 0 or height == 0:
        return "boxes without area", f"box {box}", False
    outside = (
        (max(-x, x + width - size[0]), size[0]),
        (max(-y, y + height - size[1]), size[1]),
    )
    if max(outside)[0] <= 0:
        return None
    fatal = any(over > max(CLIPPED, CLIPPED_SHARE * side) for over, side in outside)
    kind = "boxes outside their image" if fatal else "boxes a little outside their image"
    return kind, f"box {box} in {size[0]} x {size[1]} pixels", fatal


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def _image_faults(where: CocoSplit, image: Entry) -> list[Fault]:
    """Return what is wrong with the file of an image."""
    size = (image["width"], image["height"])
    return size_faults(where.images / image["file_name"], size, where.annotations.name)


def _full(key: str, entry: Any) -> bool:
    """Return whether an entry of that list has all that it needs."""
    return not _lacking(key, entry)


def _lacking(key: str, entry: Any) -> str:
    """Return what an entry lacks, in words; empty if nothing."""
    if not isinstance(entry, dict):
        return f"{str(entry)[:60]} is no table"
    for name in KEYS[key]:
        if name not in entry:
            return f"id {entry.get('id')} has no {name}"
    wrong = [name for name, fits in FITTING.items() if name in entry and not fits(entry[name])]
    return ", ".join(f"id {entry['id']} has {name} {entry[name]!r}" for name in wrong)


def _is_id(value: Any) -> bool:
    """Return whether the evaluation can look the value up: 1.0 and true would be other ids."""
    return type(value) is int


FITTING: dict[str, Callable[[Any], bool]] = {
    "id": _is_id,
    "image_id": _is_id,
    "category_id": _is_id,
    "file_name": lambda value: isinstance(value, str),
    "name": lambda value: isinstance(value, str),
    "width": lambda value: is_number(value) and value > 0,
    "height": lambda value: is_number(value) and value > 0,
    "iscrowd": lambda value: type(value) is int and value in (0, 1),
}
"""What a value of an entry must be, where it would end or spoil the training or the evaluation."""
