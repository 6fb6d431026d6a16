"""Which detection found which object at each IoU threshold: what COCO's AP is computed from.

faster-coco-eval keeps its matches to itself, but not the overlaps that they follow from.
"""

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mae_bench.core.files import write_bytes

MATCHES = "matches.parquet"
"""For each kind of AP, image by image: a row for each category with how many objects count, and
for each detection one with its score and, bit by bit from IoU 0.5 in steps of 0.05, whether it is
the best match of an object, and whether it is ignored because it lies in a crowd."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
MOST_DETECTIONS = 100
"""Of one category in one image."""
BITS = 1 << np.arange(len(THRESHOLDS))
COLUMNS = pa.schema(
    [
        ("kind", pa.string()),
        ("image", pa.string()),
        ("category", pa.int64()),  # none in the one row of an image without objects
        ("objects", pa.int64()),  # none in the row of a detection
        ("score", pa.float64()),  # none in the row of a category
        ("matched", pa.int64()),
        ("ignored", pa.int64()),
    ]
)
Row = tuple[str, int | None, int | None, float | None, int, int]
"""Image, category, objects, score, matched, ignored."""
Annotations = Mapping[tuple[Any, int], list[dict[str, Any]]]
"""(Image, category) -> its annotations, in the file's order."""


def write_matches(path: Path, rows: Mapping[str, Sequence[Row]]) -> None:
    """Write the rows of each kind of AP."""
    table = [(kind, *row) for kind, own in rows.items() for row in own]
    columns = zip(*table, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, COLUMNS, strict=True)]
    stream = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=COLUMNS), stream, compression="zstd")
    write_bytes(path, stream.getbuffer())


def match_rows(truth: Any, found: Any, ious: Mapping[tuple[Any, int], Any]) -> list[Row]:
    """Return the rows of every image, in COCO's order of them, which decides between equal scores.

    `truth` and `found` are COCO data sets, `ious` what COCOeval computed for each image and
    category: overlaps [detections by falling score, objects].
    """
    objects, detections = (_by_pair(one.dataset.get("annotations", [])) for one in (truth, found))
    pairs = defaultdict(set)
    for image, category in (*objects, *detections):
        pairs[image].add(category)
    rows: list[Row] = []
    for image in sorted(truth.imgs):
        own = [(image, category) for category in sorted(pairs[image])]
        for pair in own:
            count = sum(not one.get("iscrowd", 0) for one in objects[pair])
            rows.append((str(image), pair[1], count, None, 0, 0))
            rows += _detected(pair, detections[pair], objects[pair], ious)
        if not own:
            rows.append((str(image), None, 0, None, 0, 0))
    return rows


def _by_pair(annotations: Sequence[dict[str, Any]]) -> Annotations:
    """Return the annotations of each image and category."""
    found = defaultdict(list)
    for one in annotations:
        found[one["image_id"], one["category_id"]].append(one)
    return found


def _detected(
    pair: tuple[Any, int],
    detections: Sequence[dict[str, Any]],
    objects: Sequence[dict[str, Any]],
    ious: Mapping[tuple[Any, int], Any],
) -> Iterator[Row]:
    """Yield the rows of an image's detections of one category, by falling score."""
    scores = np.array([one["score"] for one in detections])
    order = np.argsort(-scores, kind="stable")[:MOST_DETECTIONS]
    crowds = np.array([one.get("iscrowd", 0) for one in objects], bool)
    kept = ious.get(pair, [])
    overlaps = np.asarray(kept) if len(kept) else np.zeros((len(order), 0))
    matched, ignored = matches(overlaps, crowds[: overlaps.shape[1]])
    for place, *bits in zip(order, matched, ignored, strict=True):
        yield (str(pair[0]), pair[1], None, float(scores[place]), *map(int, bits))


def matches(overlaps: np.ndarray, crowds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each detection at which thresholds it matches an object, and a crowd instead.

    COCO's rule: the detections choose by falling score, each the object not taken yet that it
    overlaps most and enough (the last of equals); without one it may lie in a crowd.
    `overlaps` [detections, objects]; the results are numbers whose k-th bit is of the k-th.
    """
    single, crowded = overlaps[:, ~crowds], overlaps[:, crowds]
    enough = np.minimum(THRESHOLDS, 1 - 1e-10)
    taken = np.zeros((len(THRESHOLDS), single.shape[1]), bool)
    matched = np.zeros(len(overlaps), np.int64)
    nearest = single.max(axis=1, initial=0.0)
    for i in np.flatnonzero(nearest >= enough[0]):
        free = np.where(taken, -1.0, single[i])
        last = free.shape[1] - 1 - free[:, ::-1].argmax(axis=1)
        hits = np.flatnonzero(free.max(axis=1) >= enough)
        taken[hits, last[hits]] = True
        matched[i] = BITS[hits].sum()
    within = crowded.max(axis=1, initial=0.0)[:, None] >= enough
    return matched, (within * BITS).sum(axis=1) & ~matched
