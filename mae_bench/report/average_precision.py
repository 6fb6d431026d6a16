"""COCO's average precision when images count several times or not at all."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
NUM_THRESHOLDS = 10
"""Of the overlap: 0.5 to 0.95."""
RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read off."""
LEAST = np.spacing(1)
"""What COCO adds to every denominator."""


@dataclass(frozen=True)
class Hits:
    """Every detection that matches an object, threshold by threshold, then in `Found`'s order.

    The hits of one threshold and category are a curve: precision only rises at them. All fields
    but `firsts` have an entry for each hit: what does not depend on the weights is looked up once.
    """

    places: Integers
    """Among all detections."""
    category: Integers
    category_start: Integers
    """Place of the first detection of its category."""
    curve_start: Integers
    """Where its curve begins among the hits."""
    firsts: Integers
    """Where each curve begins."""
    lift: Floats
    """What raises its curve above the curves after it."""
    ignored_before: Integers
    """How many of `Found.ignored` come before it: earlier thresholds', then its own threshold's."""
    ignored_start: Integers
    """The same for the first detection of its category."""


@dataclass(frozen=True)
class Found:
    """What COCO's evaluation knows of boxes or masks: detections by category, then falling score.

    Equal scores stay in the order of the images.
    """

    image: Integers
    """Of each detection."""
    category: Integers
    matched: Integers
    """Bit k: it matches an object at the k-th threshold."""
    unscored: Integers
    """Bit k: it is ignored at the k-th threshold."""
    object_image: Integers
    """Of each count of objects."""
    object_category: Integers
    object_count: Integers

    def average_precision(self, weights: Floats) -> float:
        """Return the AP in percent with each image counted that often, NaN without an object.

        As `COCOeval.accumulate` has it, for all areas: the precision at 101 recalls, made to fall,
        mean over recalls, thresholds and the categories that have an object.
        """
        hits, counts = self.hits, weights[self.object_image] * self.object_count
        objects = np.bincount(self.object_category, counts, self.num_categories)
        weight = weights[self.image]
        seen, ignored = _running(weight), _running(weight[self.ignored])
        scored = seen[hits.places] - seen[hits.category_start]
        scored -= ignored[hits.ignored_before] - ignored[hits.ignored_start]
        own = weight[hits.places]
        right = _running(own)
        right = right[1:] - right[hits.curve_start]
        precision = right / (scored + own + LEAST) + hits.lift
        precision = np.maximum.accumulate(precision[::-1])[::-1] - hits.lift
        recall = right / np.maximum(objects, 1)[hits.category]
        reached = np.searchsorted(RECALLS, recall, side="right")
        newly = np.diff(reached, prepend=0)
        newly[hits.firsts] = reached[hits.firsts]
        cells = len(RECALLS) * NUM_THRESHOLDS * int((objects > 0).sum())
        return 100.0 * float(precision @ newly) / cells if cells else float("nan")

    @cached_property
    def num_categories(self) -> int:
        """Return how many categories there may be."""
        return 1 + int(max(self.category.max(initial=-1), self.object_category.max(initial=-1)))

    @cached_property
    def ignored(self) -> Integers:
        """Return the places of ignored detections, threshold by threshold."""
        return _set_bits(self.unscored)[1]

    @cached_property
    def hits(self) -> Hits:
        """Return the detections that match, by threshold."""
        threshold, places = _set_bits(self.matched)
        category = self.category[places]
        category_start = np.searchsorted(self.category, category)
        curve = threshold * self.num_categories + category
        curve_start = np.searchsorted(curve, curve)
        at, ignored = _set_bits(self.unscored)
        size = len(self.image)
        order = at * size + ignored
        return Hits(
            places=places,
            category=category,
            category_start=category_start,
            curve_start=curve_start,
            firsts=np.unique(curve_start),
            lift=2.0 * (curve[-1:] - curve),
            ignored_before=np.searchsorted(order, threshold * size + places),
            ignored_start=np.searchsorted(order, threshold * size + category_start),
        )


def read_found(table: pa.Table, images: Any) -> Found:
    """Return what a table of matches of one kind holds; `images` are its images in their order."""
    codes = pc.index_in(table["image"], pa.array(images)).to_numpy().astype(np.int64)
    counts, is_object = table["objects"], table["objects"].is_valid().to_numpy()
    category = _numbers(table["category"])
    detections = np.flatnonzero(~is_object)
    scores = _numbers(table["score"])[detections]
    order = detections[np.lexsort((-scores, category[detections]))]  # stable
    objects = np.flatnonzero(is_object & (category >= 0))
    return Found(
        image=codes[order],
        category=category[order],
        matched=_numbers(table["matched"])[order],
        unscored=_numbers(table["ignored"])[order],
        object_image=codes[objects],
        object_category=category[objects],
        object_count=_numbers(counts)[objects],
    )


def _numbers(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column's numbers, -1 for none."""
    return np.asarray(pc.fill_null(column, -1).to_numpy())


def _set_bits(numbers: Integers) -> tuple[Integers, Integers]:
    """Return the bits that are set, bit by bit, and the places of the numbers that have them."""
    bits = (numbers[None] >> np.arange(NUM_THRESHOLDS)[:, None]) & 1
    bit, places = np.nonzero(bits)
    return bit, places


def _running(values: Floats) -> Floats:
    """Return the sums of the first 0, 1, 2 ... values."""
    return np.concatenate([[0.0], np.cumsum(values)])
