"""Where the files of PASCAL VOC lie below VOCdevkit/, and what is in them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""In label order: 1 to 20 in label maps, where 0 is background and 255 counts for nothing."""
MAIN_2007 = "VOC2007/ImageSets/Main"
MAIN_2012 = "VOC2012/ImageSets/Main"
SEGMENTATION_2012 = "VOC2012/ImageSets/Segmentation"
SPLITS = {
    MAIN_2007: ("trainval", "test"),
    MAIN_2012: ("trainval",),
    SEGMENTATION_2012: ("train", "val"),
}
"""Folder of lists below VOCdevkit/ -> the lists in it that tasks read. A recipe names the folders
that it needs in a class variable `sets`, and no others are asked for."""
LABEL_FOLDERS = {"train": "SegmentationClass", "trainaug": "SegmentationClassAug"}
"""List of images to train a segmenter on -> the folder of their label maps."""
BOX = ("xmin", "ymin", "xmax", "ymax")
FLAGS = ("difficult", "truncated")


@dataclass(frozen=True)
class VocObject:
    """One object; the box is (xmin, ymin, xmax, ymax), 1-based and with its last pixels."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    truncated: bool


@dataclass(frozen=True)
class VocAnnotation:
    """What an XML file says of its image."""

    width: int
    height: int
    objects: tuple[VocObject, ...]


def read_ids(root: Path, lists: str, split: str) -> list[str]:
    """Return the images of a list, such as read_ids(root, MAIN_2007, "test").

    Raises ValueError naming the file if it is not there, empty, or names an image twice.
    """
    path = root / lists / f"{split}.txt"
    ids = [words[0] for words in _lines(path)]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{path} names {len(ids) - len(set(ids))} images more than once")
    return ids


def read_labels(root: Path, lists: str, split: str, name: str) -> list[int]:
    """Return for each image of a list whether it shows the class: 1 yes, -1 no, 0 if it is
    difficult to say.

    Raises ValueError naming the class's file if it does not go with the list.
    """
    path = root / lists / f"{name}_{split}.txt"
    labels = {words[0]: words[-1] for words in _lines(path)}
    ids = read_ids(root, lists, split)
    odd = sorted(labels.keys() ^ set(ids))
    if odd:
        raise ValueError(f"{path} and {split}.txt name different images, such as {odd[0]}")
    wrong = sorted(set(labels.values()) - {"1", "0", "-1"})
    if wrong:
        raise ValueError(f"{path} must have 1, 0 or -1 after each image, got {wrong[0]!r}")
    return [int(labels[image]) for image in ids]


def read_annotation(path: Path) -> VocAnnotation:
    """Return the size of the image and its objects, without the parts of persons.

    Raises ValueError naming the file if it is no annotation.
    """
    try:
        tree = ElementTree.parse(path).getroot()
        return VocAnnotation(
            int(_text(tree, "size/width")),
            int(_text(tree, "size/height")),
            tuple(_object(node) for node in tree.findall("object")),
        )
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{path} is no VOC annotation ({error})") from error


def list_problems(folder: Path) -> list[str]:
    """Return what one of the folders of lists lacks: lists, and the files of their images."""
    year, root = folder.parents[1], folder.parents[2]
    lists = folder.relative_to(root).as_posix()
    problems = []
    for split in SPLITS[lists]:
        try:
            ids = set(read_ids(root, lists, split))
            for name in VOC_CLASSES if lists == MAIN_2007 else ():
                read_labels(root, lists, split, name)
        except ValueError as error:
            problems.append(str(error))
            continue
        problems += _without_files(year, lists, split, ids)
    return problems


def _without_files(year: Path, lists: str, split: str, ids: set[str]) -> Iterator[str]:
    """Yield the folders that do not hold a file for every image of a list."""
    pairs = {"JPEGImages": ".jpg", "Annotations": ".xml"}
    if lists == SEGMENTATION_2012:
        pairs = {"JPEGImages": ".jpg", "SegmentationClass": ".png"}
    for name, suffix in pairs.items():
        folder = year / name
        if not folder.is_dir():
            yield f"no folder {folder}"
            continue
        missing = sorted(
            ids
            - {p.name.removesuffix(suffix) for p in os.scandir(folder) if p.name.endswith(suffix)}
        )
        if missing:
            yield (
                f"{folder} has {len(ids) - len(missing)} of the {len(ids)} images of "
                f"{lists}/{split}.txt; missing: {missing[0]}{suffix} and "
                f"{len(missing) - 1} more"
            )


def _lines(path: Path) -> list[list[str]]:
    """Return the words of each line; ValueError without the file or anything in it."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    lines = [line.split() for line in path.read_text().splitlines()]
    if not any(lines):
        raise ValueError(f"{path} names no image")
    if not all(lines):
        raise ValueError(
            f"{path}: line {lines.index([]) + 1} of {len(lines)} is blank, expected an image on "
            "each; remove it, since the toolboxes would read it as an image without a name"
        )
    return lines


def _object(node: ElementTree.Element) -> VocObject:
    """Return one object; flags that are not given are off."""
    xmin, ymin, xmax, ymax = (float(_text(node, f"bndbox/{name}")) for name in BOX)
    difficult, truncated = (node.findtext(name, "0").strip() == "1" for name in FLAGS)
    return VocObject(_text(node, "name"), (xmin, ymin, xmax, ymax), difficult, truncated)


def _text(node: ElementTree.Element, path: str) -> str:
    """Return the text of a node below; ValueError without it."""
    found = node.findtext(path)
    if found is None:
        raise ValueError(f"{node.tag} without {path}")
    return found.strip()
