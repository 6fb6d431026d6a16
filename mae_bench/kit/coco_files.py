"""Where the files of a COCO-format data set lie, COCO's own or one with classes of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "val"]
SPLITS: tuple[SplitName, ...] = ("train", "val")


@dataclass(frozen=True)
class CocoSplit:
    """One split: its annotation file, and the folder of the images that the file names."""

    annotations: Path
    images: Path


def coco_split(root: Path, split: SplitName) -> CocoSplit:
    """Return where a split lies: COCO's of 2017, else the one annotation file of that split.

    That is annotations/instances_train2017.json with train2017/, or for example
    annotations/instances_train.json with train/. Raises ValueError if there is no such file,
    several that could be meant, or no folder of images to it.
    """
    folder = root / "annotations"
    path = folder / f"instances_{split}2017.json"
    if not path.is_file():
        path = _only(folder, split)
    images = root / path.stem.removeprefix("instances_")
    if not images.is_dir():
        raise ValueError(f"no folder {images}, which must hold the images of {path.name}")
    return CocoSplit(path, images)


def _only(folder: Path, split: SplitName) -> Path:
    """Return the one annotation file of the split; a trainval file is of neither."""
    found = sorted(
        path
        for path in folder.glob(f"instances_{split}*.json")
        if path.is_file() and not path.name.startswith("instances_trainval")
    )
    if not found:
        raise ValueError(
            f"no file {folder / f'instances_{split}2017.json'}, and no other "
            f"instances_{split}*.json beside it"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(
            f"{folder} has {len(found)} annotation files for {split}: {names}; leave one there"
        )
    return found[0]
