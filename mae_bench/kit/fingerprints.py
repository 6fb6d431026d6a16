"""What identifies the content of a data root, wherever it lies."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mae_bench.core.files import write_json
from mae_bench.kit.layouts import is_folder

LABEL_LISTS = ("1percent.txt", "10percent.txt")
"""Beside the splits: the training images whose labels low-shot tasks may use."""
VOC_LIST = "/ImageSets/"
"""In the path of every list of images of VOC."""
SPLITS = {
    "imagenet": ("train/", "val/"),
    "coco": ("train2017/", "val2017/"),
    "ade20k": ("images/training/", "images/validation/"),
}
"""Where the images to train and to test on lie, of data sets with a file for each."""
DEPTHS = {"imagenet_robustness": 4, "voc": 4}
"""Levels of folders whose change asks for a new fingerprint, where it is not two."""


def fingerprint(dataset: str, root: Path, cache: Path) -> str:
    """Return the SHA-256 of the names and sizes of all files, wherever the root is.

    Lists of images count with their content, since another list may have the same size. It is kept
    in the JSON file `cache` until a folder, a list or an annotation file changes.
    """
    state = data_state(dataset, root)
    try:
        known: dict[str, Any] = json.loads(cache.read_text())
    except (OSError, json.JSONDecodeError):
        known = {}
    entry = known.get(str(root.resolve()))
    if not isinstance(entry, dict) or entry.get("state") != state or "counts" not in entry:
        digest = hashlib.sha256()
        files = sorted(_files(root, root))
        for name, size in files:
            digest.update(f"{name}\0{size}\n".encode())
            if name in LABEL_LISTS or VOC_LIST in name:
                digest.update((root / name).read_bytes())
        counts = counted(dataset, [name for name, _ in files])
        entry = {"state": state, "fingerprint": digest.hexdigest(), "counts": counts}
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_json(cache, known | {str(root.resolve()): entry})
    return str(entry["fingerprint"])


def counted(dataset: str, names: Iterable[str]) -> dict[str, int]:
    """Return how many images there are to train and to test on, and of ImageNet's form classes.

    Nothing where there are none or where they do not lie in a file each, as in shards.
    """
    if dataset not in SPLITS:
        return {}
    train, val = ([n for n in names if n.startswith(split)] for split in SPLITS[dataset])
    if not train or not val or any(name.endswith(".tar") for name in (*train, *val)):
        return {}
    counts = {"images": len(train), "val_images": len(val)}
    if dataset == "imagenet":
        counts["classes"] = len({name.split("/")[1] for name in train})
    return counts


def known_counts(cache: Path) -> dict[str, dict[str, int]]:
    """Return the counts of the data roots in the file, by fingerprint; none if it is unreadable."""
    try:
        entries: dict[str, Any] = json.loads(cache.read_text())
        return {one["fingerprint"]: one["counts"] for one in entries.values() if "counts" in one}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}


def data_state(dataset: str, root: Path) -> str:
    """Return a hash that changes when a folder of the data set, a list or a JSON file does."""
    times = _folder_times(root, DEPTHS.get(dataset, 2))
    return hashlib.sha256(repr((dataset, times)).encode()).hexdigest()


def _folder_times(root: Path, depth: int) -> list[tuple[str, int]]:
    """Return name and modification time of the folders down to `depth`, and of the JSON files.

    The deepest folders are not listed: a file that comes or goes changes their own time.
    """
    times = [(root.name, root.stat().st_mtime_ns)]
    if depth == 0:
        return times
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if is_folder(entry):
            times += _folder_times(Path(entry.path), depth - 1)
        elif entry.name.endswith((".json", ".txt")):
            times.append((entry.name, entry.stat().st_mtime_ns))
    return times


def _files(
    root: Path, folder: Path, above: tuple[tuple[int, int], ...] = ()
) -> Iterator[tuple[str, int]]:
    """Yield (path relative to root, bytes) of every file.

    Raises ValueError for a link to a folder that it lies in, `above` being those on the way.
    """
    at = folder.stat()
    if (at.st_dev, at.st_ino) in above:
        raise ValueError(f"{folder} links to a folder that it lies in; remove the link")
    for entry in os.scandir(folder):
        if is_folder(entry):
            yield from _files(root, Path(entry.path), (*above, (at.st_dev, at.st_ino)))
        else:
            yield Path(entry.path).relative_to(root).as_posix(), entry.stat().st_size
