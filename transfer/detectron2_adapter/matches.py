"""Which detection found which object at each IoU threshold: what COCO's AP is computed from.

faster-coco-eval keeps its matches to itself, but not the overlaps that they follow from.
"""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mae_bench.core.files import write_bytes

MATCHES = "matches.parquet"
"""For each kind of AP a row for each image and category with how many objects count, and a row for
each detection with its score and, bit by bit from IoU 0.5 in steps of 0.05, whether it is the best
match of an object, and whether it is ignored because it lies in a crowd."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
ENOUGH = np.minimum(THRESHOLDS, 1 - 1e-10)
MOST_DETECTIONS = 100
"""Of one category in one image."""
BITS = 1 << np.arange(len(THRESHOLDS))
Pair = tuple[int, int]
"""The place of an image among all in COCO's order, which decides between equal scores; category."""


@dataclass(frozen=True)
class Matches:
    """Objects and detections of all images of one kind of AP."""

    images: list[str]
    """Every image's id, in COCO's order."""
    objects: dict[Pair, int]
    """How many count, crowds do not; without the pairs that have none."""
    pairs: np.ndarray
    """Image and category of each detection, sorted by them [detections, 2]."""
    scores: np.ndarray
    """Falling within a pair."""
    matched: np.ndarray
    ignored: np.ndarray

    def table(self, kind: str) -> pa.Table:
        """Return the rows of all objects, one at least of each image, then of all detections."""
        bare = sorted(set(range(len(self.images))) - {image for image, _ in self.objects})
        rows = [(image, category, count) for (image, category), count in self.objects.items()]
        rows = sorted(rows + [(image, None, 0) for image in bare], key=lambda row: row[0])
        places, categories, counts = zip(*rows, strict=True)
        names, nothing = np.array(self.images), [None] * len(rows)
        return pa.table(
            {
                "kind": [kind] * (len(rows) + len(self.scores)),
                "image": np.concatenate([names[list(places)], names[self.pairs[:, 0]]]),
                "category": pa.array([*categories, *self.pairs[:, 1].tolist()], pa.int64()),
                "objects": pa.array([*counts, *[None] * len(self.scores)], pa.int64()),
                "score": pa.array([*nothing, *self.scores.tolist()], pa.float64()),
                "matched": pa.array([*nothing, *self.matched.tolist()], pa.int64()),
                "ignored": pa.array([*nothing, *self.ignored.tolist()], pa.int64()),
            }
        )


def write_matches(path: Path, kinds: Mapping[str, Matches]) -> None:
    """Write the rows of each kind of AP."""
    stream = io.BytesIO()
    table = pa.concat_tables([one.table(kind) for kind, one in kinds.items()])
    pq.write_table(table, stream, compression="zstd")
    write_bytes(path, stream.getbuffer())


def all_matches(truth: Any, found: Any, ious: Mapping[tuple[Any, int], Any]) -> Matches:
    """Return what was matched in every image.

    `truth` and `found` are COCO data sets, `ious` what COCOeval computed for each image and
    category: overlaps [detections by falling score, objects].
    """
    ids = sorted(truth.imgs)
    places = {image: place for place, image in enumerate(ids)}
    crowds: dict[Pair, list[bool]] = defaultdict(list)
    for one in _annotations(truth):
        crowds[places[one["image_id"]], one["category_id"]].append(bool(one.get("iscrowd", 0)))
    detections = _annotations(found)
    pairs = np.array([(places[one["image_id"]], one["category_id"]) for one in detections], int)
    pairs, scores = pairs.reshape(-1, 2), np.array([one["score"] for one in detections], float)
    order = np.lexsort((-scores, pairs[:, 1], pairs[:, 0]))  # stable
    starts = _starts(pairs[order])
    order = order[np.arange(len(order)) - starts < MOST_DETECTIONS]
    pairs, scores = pairs[order], scores[order]
    matched, ignored = np.zeros((2, len(order)), np.int64)
    for start in np.unique(_starts(pairs)):
        pair = (int(pairs[start, 0]), int(pairs[start, 1]))
        if pair in crowds:
            overlaps = np.asarray(ious[ids[pair[0]], pair[1]])
            own = slice(start, start + len(overlaps))
            matched[own], ignored[own] = matches(overlaps, np.array(crowds[pair]))
    objects = {pair: len(own) - sum(own) for pair, own in crowds.items() if not all(own)}
    return Matches([str(one) for one in ids], objects, pairs, scores, matched, ignored)


def _annotations(dataset: Any) -> Sequence[dict[str, Any]]:
    """Return all annotations of a COCO data set."""
    found: Sequence[dict[str, Any]] = dataset.dataset.get("annotations", [])
    return found


def _starts(pairs: np.ndarray) -> np.ndarray:
    """Return for each of some sorted pairs where the equal ones begin."""
    new = np.ones(len(pairs), bool)
    new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
    return np.maximum.accumulate(np.where(new, np.arange(len(pairs)), 0))


def matches(overlaps: np.ndarray, crowds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each detection at which thresholds it matches an object, and a crowd instead.

    COCO's rule: the detections choose by falling score, each the object not taken yet that it
    overlaps most and enough (the last of equals); without one it may lie in a crowd.
    `overlaps` [detections, objects]; the results are numbers whose k-th bit is of the k-th.
    """
    single, crowded = overlaps[:, ~crowds], overlaps[:, crowds]
    taken = np.zeros((len(THRESHOLDS), single.shape[1]), bool)
    matched = np.zeros(len(overlaps), np.int64)
    for i in np.flatnonzero(single.max(axis=1, initial=0.0) >= ENOUGH[0]):
        free = np.where(taken, -1.0, single[i])
        last = free.shape[1] - 1 - free[:, ::-1].argmax(axis=1)
        hits = np.flatnonzero(free.max(axis=1) >= ENOUGH)
        taken[hits, last[hits]] = True
        matched[i] = BITS[hits].sum()
    within = crowded.max(axis=1, initial=0.0)[:, None] >= ENOUGH
    return matched, (within * BITS).sum(axis=1) & ~matched
