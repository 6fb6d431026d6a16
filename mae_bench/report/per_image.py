"""A metric on samples of the test images, from what its job kept of each image.

A sample holds as many images as there are, drawn with replacement: the bootstrap of Efron 1979.
"""

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mae_bench.core.files import write_bytes
from mae_bench.core.recipe import PerImage
from mae_bench.report.average_precision import read_found
from mae_bench.report.statistics import Replicates

RESAMPLES = 1000
"""A bound of an interval is then off by a twelfth of the metric's own spread over samples."""
SEED = 17_031_979
"""Of the samples, the same for every job."""
BLOCK = 20
"""Samples drawn at once: 8 MB for 50,000 images."""
CLOSE = 1e-6
"""How far, in percentage points, a number may be from the one in the result."""
VERSION = 1
"""Of the way from what was kept to replicates: raised when that gives other ones."""
FILES: dict[PerImage, str] = {
    "correct": "predictions.parquet",
    "overlaps": "per_image.parquet",
    "matches": "matches.parquet",
}
"""What a job kept of each image -> where."""
MEMORY = Path("tables", "images")
"""Folder in the store: the replicates of each number."""
KINDS = {"box_ap": "bbox", "mask_ap": "segm"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Refusal:
    """Why what a job kept of its test images is not believed."""

    reason: str


@dataclass(frozen=True)
class Kept:
    """What a job kept of its test images, in an order that is the same for every job."""

    count: int
    """Of test images."""
    images: str
    """A hash of the images and their truth."""
    score: Callable[[Floats], Floats]
    """The metric in percent for each line of counts [samples, images] of how often images count."""


def replicates(
    root: Path, key: str, per_image: PerImage, metric: str, value: float
) -> Replicates | Refusal | None:
    """Return a job's metric on `RESAMPLES` samples of its test images; None if it kept nothing.

    `root` is the store's, `key` the job's, `value` its number, which must come out again of what
    it kept: otherwise that is refused. Made once and remembered in the store.
    """
    path = root / key / FILES[per_image] if per_image else None
    if path is None or not path.is_file():
        return None
    about = path.stat()
    made_from = repr((VERSION, RESAMPLES, value, about.st_size, about.st_mtime_ns))
    memory = root / MEMORY / f"{key}-{metric}.npz"
    remembered = _remembered(memory, made_from, value)
    if remembered is not None:
        return remembered
    found = _made(path, per_image, metric, value)
    if isinstance(found, Replicates):
        _remember(memory, made_from, found)
    return found


def refusal(root: Path, key: str, per_image: PerImage, metric: str, value: float) -> Refusal | None:
    """Return why a number does not come out again of what its job kept; None if it does.

    None too where the job kept nothing. Nothing is sampled and nothing remembered is asked.
    """
    path = root / key / FILES[per_image] if per_image else None
    if path is None or not path.is_file():
        return None
    found = _kept(path, per_image, metric, value)
    return found if isinstance(found, Refusal) else None


def samples(images: int) -> Iterator[Floats]:
    """Yield how often each of so many images is in each sample, `BLOCK` samples at a time."""
    drawn = np.random.default_rng([SEED, images])
    for start in range(0, RESAMPLES, BLOCK):
        size = min(BLOCK, RESAMPLES - start)
        places = drawn.integers(0, images, (size, images)) + images * np.arange(size)[:, None]
        counts = np.bincount(places.ravel(), minlength=size * images)
        yield counts.reshape(size, images).astype(np.float64)


def _made(path: Path, per_image: PerImage, metric: str, value: float) -> Replicates | Refusal:
    """Return the metric on samples of the images, or what is wrong with what was kept."""
    kept = _kept(path, per_image, metric, value)
    if isinstance(kept, Refusal):
        return kept
    values = np.concatenate([kept.score(counts) for counts in samples(kept.count)])
    if not np.isfinite(values).all():
        return Refusal(f"{path.name} has too few images: {metric} does not exist on some samples")
    return Replicates(value, values, kept.images)


def _kept(path: Path, per_image: PerImage, metric: str, value: float) -> Kept | Refusal:
    """Return what was kept if the number comes out of it again, else what is wrong with it."""
    readers = {"correct": _correct, "overlaps": _overlaps, "matches": _matches}
    try:
        with np.errstate(all="ignore"):
            kept = readers[per_image](path, metric)
            again = float(kept.score(np.ones((1, kept.count)))[0])
    except Exception as error:  # damage may be anything: other types, blanks, numbers without end
        return Refusal(f"{path.name} cannot be read ({type(error).__name__}: {error})")
    if not abs(again - value) <= CLOSE:
        return Refusal(f"{path.name} gives {metric} {again:.6f}, the result says {value:.6f}")
    return kept


def _correct(path: Path, metric: str) -> Kept:
    """Return whether each image's first class is right."""
    table = pq.read_table(path, columns=["image", "label", "top1"]).sort_by("image")
    labels = table["label"].to_numpy()
    right = 100.0 * (labels == table["top1"].to_numpy())
    images = _hash(table.select(["image", "label"]))
    return Kept(len(right), images, lambda counts: counts @ right / len(right))


def _overlaps(path: Path, metric: str) -> Kept:
    """Return the pixels of each class in each image, of which the mean IoU is made."""
    table = pq.read_table(path).sort_by([("image", "ascending"), ("class", "ascending")])
    names, places = np.unique(table["image"].to_numpy(), return_inverse=True)
    known, classes = np.unique(table["class"].to_numpy(), return_inverse=True)
    areas = np.zeros((2, len(names), len(known)))
    both = table["intersection"].to_numpy()
    areas[0, places, classes] = both
    areas[1, places, classes] = table["prediction"].to_numpy() + table["truth"].to_numpy() - both

    def score(counts: Floats) -> Floats:
        return mean_iou(*(counts @ area for area in areas))  # exact: integers below 2^53

    there = table.filter(pc.greater(table["truth"], 0))
    return Kept(len(names), _hash(there.select(["image", "class", "truth"])), score)


def mean_iou(intersection: Floats, union: Floats) -> Floats:
    """Return the mean IoU in percent of each line of areas [samples, classes].

    A class counts where prediction or truth has it anywhere.
    """
    occurs = union > 0
    ious = np.divide(intersection, union, where=occurs, out=np.zeros_like(union))
    return np.asarray(100.0 * ious.sum(axis=-1) / occurs.sum(axis=-1))


def _matches(path: Path, metric: str) -> Kept:
    """Return the detections and objects of each image, of which COCO's AP is made."""
    table = pq.read_table(path)
    table = table.filter(pc.equal(table["kind"], KINDS[metric]))
    objects = table.filter(table["objects"].is_valid()).select(["image", "category", "objects"])
    names = objects["image"].unique()
    found = read_found(table, names)

    def score(counts: Floats) -> Floats:
        return np.array([found.average_precision(line) for line in counts])

    there = objects.filter(pc.greater(objects["objects"], 0))
    images = _hash(pa.table({"image": names}), there)
    return Kept(len(names), images, score)


def _hash(*tables: pa.Table) -> str:
    """Return the SHA-256 of the tables' content."""
    digest = hashlib.sha256()
    for table in tables:
        for column in table.columns:
            digest.update(repr(column.to_pylist()).encode())
    return digest.hexdigest()


def _remembered(memory: Path, made_from: str, value: float) -> Replicates | None:
    """Return the replicates if they are remembered and made from that."""
    try:
        with np.load(memory, allow_pickle=False) as kept:
            if str(kept["made_from"]) == made_from and kept["values"].shape == (RESAMPLES,):
                return Replicates(value, kept["values"].astype(np.float64), str(kept["images"]))
    except Exception:  # zipfile, zlib and numpy each have errors of their own for damaged files
        return None
    return None


def _remember(memory: Path, made_from: str, found: Replicates) -> None:
    """Keep the replicates; a store that cannot be written does without."""
    stream = io.BytesIO()
    np.savez(stream, made_from=made_from, values=found.values, images=found.images)
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(memory, stream.getbuffer())
