"""Whether images and label maps can be read, and their sizes, mostly from the headers alone."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mae_bench.kit.audit.problems import UNREADABLE, Fault

ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What a whole file of that format has near its end."""
TAIL = 1024
ORIENTATION = 0x0112
"""The EXIF tag by which cameras turn pictures."""
TURNED = (5, 6, 7, 8)
INDEX_MODES = ("1", "L", "P", "I", "I;16")
UNREADABLE_MAPS = "unreadable label maps"


@dataclass(frozen=True)
class Pair:
    """An image and its label map, whose values may be up to `most`.

    Besides, 255 is a label that counts for nothing, or 65535 where 255 is a class.
    """

    image: Path
    labels: Path
    most: int


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height as the toolboxes read them: turned where the EXIF data says so.

    Only the header is decoded, unless the file's end is not that of a whole file. Raises OSError
    if it cannot be read.
    """
    with Image.open(path) as image:
        if not _has_end(path, image.format or ""):
            image.load()
        width, height = image.size
        if image.getexif().get(ORIENTATION) in TURNED:
            return height, width
        return width, height


def size_faults(path: Path, expected: tuple[int, int], source: str) -> list[Fault]:
    """Return what is wrong with an image that must be of that width and height."""
    try:
        found = image_size(path)
    except FileNotFoundError:
        return [Fault("missing images", f"{path}, which {source} names")]
    except Exception as error:  # Pillow's readers raise whatever their format's parser does
        return [Fault(UNREADABLE, f"{path} ({_reason(error)})")]
    if found == expected:
        return []
    return [
        Fault(
            "images of another size than their annotation says",
            f"{path} has {found[0]} x {found[1]} pixels, {source} says "
            f"{expected[0]} x {expected[1]}",
        )
    ]


def pair_faults(pair: Pair) -> list[Fault]:
    """Return what is wrong with an image or its label map."""
    faults, size = [], None
    try:
        size = image_size(pair.image)
    except Exception as error:
        faults.append(Fault(UNREADABLE, f"{pair.image} ({_reason(error)})"))
    try:
        with Image.open(pair.labels) as labels:
            labels.load()
            faults += _label_faults(pair, labels, size)
    except Exception as error:
        faults.append(Fault(UNREADABLE_MAPS, f"{pair.labels} ({_reason(error)})"))
    return faults


def _label_faults(pair: Pair, labels: Image.Image, size: tuple[int, int] | None) -> list[Fault]:
    """Return what is wrong with a label map of an image of that size."""
    if labels.mode not in INDEX_MODES:
        found = f"{pair.labels} has mode {labels.mode}, expected indices in one channel"
        return [Fault("label maps that are pictures instead of indices", found)]
    faults = []
    if size is not None and labels.size != size:
        kind = "label maps of another size than their image"
        found = " and ".join(f"{width} x {height}" for width, height in (labels.size, size))
        faults.append(Fault(kind, f"{pair.labels}: {found} pixels"))
    ignored = 255 if pair.most < 255 else 65535
    wrong = [v for v in _values(labels) if not 0 <= v <= pair.most and v != ignored]
    if wrong:
        kind = "label maps with labels above the class count"
        found = ", ".join(map(str, wrong[:3]))
        faults.append(Fault(kind, f"{pair.labels} has label {found}, expected at most {pair.most}"))
    return faults


def _values(labels: Image.Image) -> Collection[int]:
    """Return the values that occur, sorted."""
    if labels.mode in ("L", "P"):
        return [value for value, count in enumerate(labels.histogram()) if count]
    return [int(value) for value in np.unique(np.asarray(labels))]


def _has_end(path: Path, kind: str) -> bool:
    """Return whether the file's end shows that it is whole."""
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - TAIL))
        return kind in ENDS and ENDS[kind] in stream.read()


def _reason(error: Exception) -> str:
    """Return the error in a few words, without the path that it may repeat."""
    return "no file" if isinstance(error, FileNotFoundError) else str(error).partition(" '/")[0]
