"""Scenes written as a small VOCdevkit, added to demo data that was made without one."""

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.scene_files import CHUNK, JPEG_QUALITY, Progress
from mae_bench.kit.scene_textures import Split
from mae_bench.kit.scenes import THINGS, Scene, landscape
from mae_bench.kit.voc_files import BOX, VOC_CLASSES

NAMES = dict(
    zip(
        THINGS,
        ("bottle", "tvmonitor", "boat", "bird", "bicycle", "aeroplane", "sheep", "cow"),
        strict=True,
    )
)
"""Class of a shape -> the VOC class that stands for it; the other twelve do not appear."""
BORDER = 255
"""Label of the pixels around an object, which count for nothing."""
SMALL = 0.025
"""Share of the image below which an object is marked difficult."""
Labels = dict[str, int]
"""Class -> 1, or 0 if all its objects in the image are difficult."""


@dataclass(frozen=True)
class VocPart:
    """A run of images of one year and list, written by one worker."""

    root: Path
    sizes: DemoData
    year: int
    split: str
    first: int
    count: int

    @property
    def photos(self) -> Split:
        """Which columns of the photographs are seen: within a year no two lists share any."""
        return "val" if (self.year, self.split) in ((2007, "test"), (2012, "val")) else "train"

    def image_id(self, index: int) -> str:
        """Return the name of an image, as in VOC of that year."""
        number = 1 + 3 * index + (self.split != "train") + (self.split == "test")
        return f"{number:06d}" if self.year == 2007 else f"2008_{number:06d}"


def add_voc(root: Path, sizes: DemoData, progress: Progress | None = None) -> None:
    """Make demo_roots(root)["voc"], the same bytes for the same sizes; a finished one stays.

    It is built beside the folder and renamed. VOC2007 has half as many images for training as there
    are scenes for it, and VOC2012 as many; both have a list for testing.
    """
    devkit = demo_roots(root)["voc"]
    if devkit.exists():
        return
    made = devkit.with_name(f"{devkit.name}.part{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    try:
        _write_devkit(made, sizes, progress or (lambda done, total: None))
        made.rename(devkit)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_voc(part: VocPart) -> dict[str, Labels]:
    """Write images, annotations and, of 2012, label maps; return the labels of each image."""
    year = part.root / f"VOC{part.year}"
    stream = (2007, 2012).index(part.year) + 2
    labels = {}
    for i in range(part.first, part.first + part.count):
        numbers = [part.sizes.seed, ("train", "val", "test").index(part.split), stream, i]
        scene = landscape(part.photos, part.sizes.scene_side, np.random.default_rng(numbers))
        name = part.image_id(i)
        picture = Image.fromarray(scene.pixels)
        picture.save(year / "JPEGImages" / f"{name}.jpg", quality=JPEG_QUALITY, subsampling=0)
        tree, labels[name] = annotation(scene, name, part.year)
        ElementTree.indent(tree, "\t")
        (year / "Annotations" / f"{name}.xml").write_text(ElementTree.tostring(tree, "unicode"))
        if part.year == 2012:
            label_image(scene).save(year / "SegmentationClass" / f"{name}.png")
    return labels


def annotation(scene: Scene, name: str, year: int) -> tuple[ElementTree.Element, Labels]:
    """Return the XML of one image and its labels; crowds and small objects are difficult."""
    side = len(scene.pixels)
    tree = ElementTree.Element("annotation")
    _put(tree, {"folder": f"VOC{year}", "filename": f"{name}.jpg"})
    _put(ElementTree.SubElement(tree, "size"), {"width": side, "height": side, "depth": 3})
    _put(tree, {"segmented": int(year == 2012)})
    labels: Labels = {}
    for thing, mask, crowd in zip(scene.labels, scene.masks, scene.crowds, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(edge) + 1 for edge in (columns[0], rows[0], columns[-1], rows[-1])]
        difficult = crowd or mask.mean() < SMALL
        truncated = min(box) == 1 or max(box) == side
        node = ElementTree.SubElement(tree, "object")
        _put(node, {"name": NAMES[THINGS[thing]], "pose": "Unspecified"})
        _put(node, {"truncated": int(truncated), "difficult": int(difficult)})
        _put(ElementTree.SubElement(node, "bndbox"), dict(zip(BOX, box, strict=True)))
        labels[NAMES[THINGS[thing]]] = max(int(not difficult), labels.get(NAMES[THINGS[thing]], 0))
    return tree, labels


def label_image(scene: Scene) -> Image.Image:
    """Return the label map as indices into VOC's colours: 0 background, 255 along outlines."""
    owner = np.zeros(scene.stuff.shape, np.int32)
    label = np.zeros(scene.stuff.shape, np.uint8)
    for number, (thing, mask) in enumerate(zip(scene.labels, scene.masks, strict=True), start=1):
        owner[mask] = number
        label[mask] = 1 + VOC_CLASSES.index(NAMES[THINGS[thing]])
    down, right = owner[1:] != owner[:-1], owner[:, 1:] != owner[:, :-1]
    for changed, here, beside in (
        (down, label[:-1], label[1:]),
        (right, label[:, :-1], label[:, 1:]),
    ):
        here[changed] = BORDER
        beside[changed] = BORDER
    image = Image.fromarray(label, mode="P")
    image.putpalette(colours())
    return image


def colours() -> list[int]:
    """Return VOC's palette: the bits of an index, from the lowest, are dealt to red, green, blue.

    The first three go to the highest bits of the colours, the next three to those below.
    """
    palette = []
    for index in range(256):
        for channel in range(3):
            bits = [index >> (3 * level + channel) & 1 for level in range(8)]
            palette.append(sum(bit << (7 - level) for level, bit in enumerate(bits)))
    return palette


def _write_devkit(root: Path, sizes: DemoData, progress: Progress) -> None:
    """Write both years: a few images here, many in as many processes as there are cores."""
    half, more = sizes.num_train_scenes // 4, sizes.num_train_scenes // 2
    counts = {(2007, "train"): half, (2007, "val"): half, (2007, "test"): sizes.num_val_scenes}
    counts |= {(2012, "train"): more, (2012, "val"): sizes.num_val_scenes}
    for year, name in ((2007, ""), (2012, "SegmentationClass")):
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main", name):
            (root / f"VOC{year}" / folder).mkdir(parents=True, exist_ok=True)
    work = [
        VocPart(root, sizes, year, split, first, min(CHUNK, count - first))
        for (year, split), count in counts.items()
        for first in range(0, count, CHUNK)
    ]
    done, total = 0, sum(counts.values())
    found: dict[tuple[int, str], dict[str, Labels]] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        answers = map(write_voc, work) if total <= CHUNK else pool.map(write_voc, work)
        for part, labels in zip(work, answers, strict=True):
            found.setdefault((part.year, part.split), {}).update(labels)
            done += part.count
            progress(done, total)
    for year in (2007, 2012):
        _write_lists(root / f"VOC{year}", {s: v for (y, s), v in found.items() if y == year})


def _write_lists(year: Path, found: dict[str, dict[str, Labels]]) -> None:
    """Write the lists of images, and those of each class: 1, -1 or 0 for difficult."""
    lists = found | {"trainval": found["train"] | found["val"]}
    for split, images in lists.items():
        names = sorted(images)
        text = "".join(f"{name}\n" for name in names)
        folders = ["Main", "Segmentation"] if year.name == "VOC2012" else ["Main"]
        for folder in folders:
            (year / "ImageSets" / folder).mkdir(exist_ok=True)
            (year / "ImageSets" / folder / f"{split}.txt").write_text(text)
        for cls in VOC_CLASSES:
            rows = (f"{name} {images[name].get(cls, -1):2d}\n" for name in names)
            (year / "ImageSets" / "Main" / f"{cls}_{split}.txt").write_text("".join(rows))


def _put(node: ElementTree.Element, values: dict[str, object]) -> None:
    """Append a node for each value."""
    for name, value in values.items():
        ElementTree.SubElement(node, name).text = str(value)
