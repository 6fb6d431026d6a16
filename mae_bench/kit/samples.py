"""The images of one split with their labels: a folder for each class, or tar shards."""

import hashlib
import io
import logging
import os
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from numpy import ndarray

from mae_bench.core.files import write_bytes
from mae_bench.kit.layouts import CLASSES, folders_in

log = logging.getLogger(__name__)

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
SCAN_VERSION = 1


@dataclass(frozen=True)
class Samples:
    """Where every image of a split lies; arrays, so that worker processes share their memory."""

    root: Path
    names: Shaped[ndarray, " images"]
    """Path below root as bytes; for shards the member's name."""
    labels: Int[ndarray, " images"]
    classes: tuple[str, ...]
    spans: Int[ndarray, "images 3"] | None = None
    """For shards: number of the shard, first byte and length of each image."""
    shards: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the image's path, or its shard and member, for messages."""
        name = os.fsdecode(self.names[index])
        if self.spans is None:
            return str(self.root / name)
        return f"{self.root / self.shards[self.spans[index, 0]]}/{name}"

    def subset(self, indices: Int[ndarray, " chosen"]) -> "Samples":
        """Return those images alone, with the same classes."""
        spans = None if self.spans is None else self.spans[indices]
        return replace(self, names=self.names[indices], labels=self.labels[indices], spans=spans)

    def short_name(self, index: int) -> str:
        """Return the image's path below the split, or the member's name in its shard."""
        return os.fsdecode(self.names[index])

    def read(self, index: int) -> bytes:
        """Return the bytes of the image's file; OSError if they cannot be read."""
        if self.spans is None:
            return (self.root / os.fsdecode(self.names[index])).read_bytes()
        shard, start, length = self.spans[index].tolist()
        with (self.root / self.shards[shard]).open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read(length)


def read_samples(root: Path, split: str) -> Samples:
    """Return the images of root/split, sorted by class and name.

    The listing is kept in the user's cache until a folder or shard changes, since a network file
    system takes minutes to list ImageNet. Raises ValueError if there is no image.
    """
    folder = root / split
    state = hashlib.sha256(repr((SCAN_VERSION, _state(folder))).encode()).hexdigest()
    place = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    cache = cache_folder() / "scans" / f"{place}.npz"
    samples = _from_cache(cache, state, folder)
    if samples is None:
        samples = _scan(root, split)
        _to_cache(cache, state, samples)
    return samples


def cache_folder() -> Path:
    """Return the folder for what can be made again: $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mae-bench"


def is_sharded(folder: Path) -> bool:
    """Return whether the split lies in tar files."""
    return any(entry.name.endswith(".tar") for entry in os.scandir(folder))


def _scan(root: Path, split: str) -> Samples:
    """List the split."""
    folder = root / split
    samples = _scan_shards(root, folder) if is_sharded(folder) else _scan_folders(folder)
    if not len(samples):
        raise ValueError(f"{folder} has no images; expected <class>/*.JPEG or *.tar")
    log.info("%s: %d images of %d classes", folder, len(samples), len(samples.classes))
    return samples


def _scan_folders(folder: Path) -> Samples:
    """List a folder for each class; several at a time, since each listing waits for the disk."""
    classes = folders_in(folder)
    with ThreadPoolExecutor(16) as pool:
        listings = list(pool.map(lambda name: _images(folder / name), classes))
    names = [os.fsencode(f"{c}/{n}") for c, ns in zip(classes, listings, strict=True) for n in ns]
    labels = np.repeat(np.arange(len(classes)), [len(listing) for listing in listings])
    return Samples(folder, np.array(names, dtype=bytes), labels.astype(np.int64), tuple(classes))


def _images(folder: Path) -> list[str]:
    """Return the sorted names of the image files in one folder."""
    names = (entry.name for entry in os.scandir(folder))
    return sorted(name for name in names if name.lower().endswith(EXTENSIONS))


def _scan_shards(root: Path, folder: Path) -> Samples:
    """List shards in the WebDataset convention: KEY.jpg (or another image) and KEY.cls."""
    shards = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".tar"))
    names, labels, spans = [], [], []
    for number, shard in enumerate(shards):
        for name, label, start, length in _members(folder / shard):
            names.append(os.fsencode(name))
            labels.append(label)
            spans.append((number, start, length))
    classes = (root / CLASSES).read_text().split("\n")[:-1] if (root / CLASSES).exists() else []
    classes = classes or [str(number) for number in range(max(labels, default=-1) + 1)]
    if labels and max(labels) >= len(classes):
        raise ValueError(
            f"{folder}: label {max(labels)} found, but {root / CLASSES} names {len(classes)} "
            "classes; labels count from 0"
        )
    order = np.lexsort((np.array(names, dtype=bytes), labels))  # as in folders, the same batches
    return Samples(
        folder,
        np.array(names, dtype=bytes)[order],
        np.array(labels, dtype=np.int64)[order],
        tuple(classes),
        np.array(spans, dtype=np.int64).reshape(-1, 3)[order],
        tuple(shards),
    )


def _members(shard: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield (name, label, first byte, length) of each image that has a label; ValueError if not."""
    images: dict[str, tuple[str, int, int]] = {}
    labels: dict[str, int] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, slash, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                key = folder + slash + stem
                if extension == "cls":
                    stream = tar.extractfile(member)
                    assert stream is not None
                    labels[key] = int(stream.read())
                elif member.name.lower().endswith(EXTENSIONS):
                    images[key] = (member.name, member.offset_data, member.size)
    except (tarfile.TarError, OSError, ValueError) as error:
        raise ValueError(f"{shard} is no whole shard: {error}; copy or make it again") from error
    lonely = sorted(set(images) ^ set(labels))
    if lonely:
        raise ValueError(f"{shard}: {lonely[0]} lacks its image or its .cls (and {len(lonely)} do)")
    for key, (name, start, length) in images.items():
        yield name, labels[key], start, length


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, time of change and size of the split's folders and shards."""
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; expected <class>/*.JPEG or *.tar in it")
    entries = [(entry.name, entry.stat()) for entry in os.scandir(folder)]
    found = [(folder.name, folder.stat().st_mtime_ns, 0)]
    found += [(name, stat.st_mtime_ns, stat.st_size) for name, stat in entries]
    classes = folder.parent / CLASSES
    if classes.exists():
        found.append((CLASSES, classes.stat().st_mtime_ns, classes.stat().st_size))
    return sorted(found)


def _from_cache(path: Path, state: str, folder: Path) -> Samples | None:
    """Return the listing kept for that state of the folder, or None."""
    try:
        with np.load(path) as kept:
            if str(kept["state"]) != state:
                return None
            return Samples(
                folder,
                kept["names"],
                kept["labels"],
                tuple(kept["classes"].tolist()),
                kept["spans"] if kept["spans"].size else None,
                tuple(kept["shards"].tolist()),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # none yet, or damaged: list again


def _to_cache(path: Path, state: str, samples: Samples) -> None:
    """Keep the listing; without a place to keep it the next start lists again."""
    stream = io.BytesIO()
    np.savez(
        stream,
        state=np.array(state),
        names=samples.names,
        labels=samples.labels,
        classes=np.array(samples.classes),
        spans=np.zeros((0, 3), np.int64) if samples.spans is None else samples.spans,
        shards=np.array(samples.shards, dtype=str),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, stream.getvalue())
    except OSError as error:
        log.warning("the listing of %s is not kept: %s", samples.root, error)
