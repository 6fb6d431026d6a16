"""What a segmenter found, for people: fixed, best and worst images, and each class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mae_bench.kit.decode import read_image
from mae_bench.kit.figures import drawing, write_picture
from transfer.class_figure import class_figure
from transfer.figure_regions import classes_in, draw_regions
from transfer.figure_sheet import Exhibit, Heading, Size, sheet

ReadLabels = Callable[[Path], np.ndarray]
"""Truth file -> class indices [height, width]; 255 for pixels that are not counted."""
RULE = "Left: image, middle: truth (hatched: not counted), right: found."


@dataclass(frozen=True)
class Segmented:
    """One image of the split, and how well it was segmented."""

    image: Path
    truth: Path
    prediction: Path
    """PNG of class indices, of the truth's size or of another."""
    miou: float
    """Mean IoU in percent over the classes in its truth or prediction; NaN if nothing counts."""


@dataclass(frozen=True)
class Selection:
    """Which images a figure shows, and how large."""

    choose: Callable[[Sequence[Segmented]], Sequence[Segmented]]
    shows: str
    height: int


def segmentation_figures(
    images: Sequence[Segmented],
    names: Sequence[str],
    per_class: Mapping[str, float | None],
    out: Path,
    read_truth: ReadLabels,
) -> None:
    """Draw segmentations.png, segmentations_best.png, segmentations_worst.png and classes.png.

    `per_class` is each class's IoU in percent, None if it does not occur. They go to figures/ in
    the job's folder `out`. What cannot be drawn is a warning, never an error.
    """
    for name, selection in SELECTIONS.items():
        with drawing(out, name) as path:
            chosen = selection.choose(images)
            if not chosen:
                raise ValueError("there are no images to draw")
            maps = [(read_truth(one.truth), read_labels(one.prediction)) for one in chosen]
            exhibits = [_exhibit(one, *both, names) for one, both in zip(chosen, maps, strict=True)]
            seen = {i for both in maps for part in both for i in classes_in(part, len(names))}
            legend = [(i, names[i]) for i in sorted(seen)]
            picture = sheet(Heading(selection.shows, RULE), exhibits, selection.height, legend)
            write_picture(path, picture, selection.shows)
    with drawing(out, "classes.png") as path:
        class_figure(path, "IoU", per_class)


def read_labels(path: Path) -> np.ndarray:
    """Return a PNG of class indices as int [height, width]."""
    with Image.open(path) as image:
        labels = np.asarray(image).astype(int)
    if labels.ndim != 2:
        raise ValueError(f"{path} has {labels.shape[-1]} channels; a label map has one")
    return labels


def fixed(images: Sequence[Segmented]) -> Sequence[Segmented]:
    """Return six images, evenly from the whole split: the same for every segmenter."""
    return [images[i * len(images) // 6] for i in range(6)] if len(images) > 6 else images


def best(images: Sequence[Segmented]) -> Sequence[Segmented]:
    """Return up to four images of the better half by mean IoU."""
    some = _counted(images)
    return sorted(some, key=lambda one: -one.miou)[: _most(some)]


def worst(images: Sequence[Segmented]) -> Sequence[Segmented]:
    """Return up to four images of the worse half by mean IoU."""
    some = _counted(images)
    return sorted(some, key=lambda one: one.miou)[: _most(some)]


def _most(images: Sequence[Segmented]) -> int:
    """Return how many images to show, so that none is among the best and the worst."""
    return min(4, max(1, len(images) // 2))


SELECTIONS = {
    "segmentations.png": Selection(fixed, "Truth and segmentation of fixed images", 200),
    "segmentations_best.png": Selection(best, "The images with the highest mean IoU", 300),
    "segmentations_worst.png": Selection(worst, "The images with the lowest mean IoU", 300),
}


def _counted(images: Sequence[Segmented]) -> list[Segmented]:
    """Return the images that have a score."""
    return [one for one in images if not np.isnan(one.miou)]


def _exhibit(one: Segmented, truth: np.ndarray, found: np.ndarray, names: Sequence[str]) -> Exhibit:
    """Return image, truth and prediction, to be painted."""
    image = read_image(one.image)

    def paint(size: Size) -> Sequence[Image.Image]:
        regions = [draw_regions(labels, names, size) for labels in (truth, found)]
        return [image.resize(size, Image.Resampling.LANCZOS), *regions]

    score = "nothing counts" if np.isnan(one.miou) else f"mean IoU {one.miou:.1f} %"
    return Exhibit(image.size, (one.image.name, "truth", score), paint)
