"""What lies in a data root: whether it is whole, and what classes it has."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mae_bench.kit.coco_files import SPLITS, coco_split
from mae_bench.kit.voc_files import SPLITS as VOC_LISTS
from mae_bench.kit.voc_files import list_problems

CLASSES = "classes.txt"
"""Beside shards or ADE-format label maps: the class names, one a line, in label order."""
OBJECT_INFO = "objectInfo150.txt"
"""ADE20K's own table of classes."""
NEXT_STEP = {
    "imagenet": "it needs train/<class>/*.JPEG and val/<class>/*.JPEG, or *.tar in both",
    "coco": "it needs train2017/, val2017/ and annotations/instances_{train,val}2017.json, or the "
    "same without the year",
    "ade20k": "it needs {images,annotations}/{training,validation}/ and objectInfo150.txt, as in "
    "ADEChallengeData2016, or classes.txt with your own names",
    "voc": "it needs VOC2007/ and VOC2012/ with Annotations, JPEGImages, ImageSets/Main and, for "
    "segmentation, SegmentationClass and ImageSets/Segmentation, as in VOCdevkit, test images too",
    "imagenet_robustness": "it needs imagenet-c/<corruption>/<1 to 5>/<class>/*.JPEG, and "
    "<class>/ below imagenet-a, imagenet-r and sketch, or those that are to be measured",
}
SHIFTED = ("imagenet-c", "imagenet-a", "imagenet-r", "sketch")
"""The folders of an imagenet_robustness root, as their archives name them."""
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = (1, 2, 3, 4, 5)
PARTS: dict[str, tuple[str, ...]] = {"imagenet_robustness": SHIFTED, "voc": tuple(VOC_LISTS)}
"""Folders below the root that are checked one by one, since each can be used alone."""


def check(dataset: str, root: Path | None, parts: Sequence[str] = ()) -> list[str]:
    """Return what is wrong with a data root, a sentence each; empty if it is whole.

    `parts`: the folders below the root that are needed, of a data set that has independent ones;
    empty: all of them.
    """
    if root is None:
        flag = dataset.replace("_", "-")
        return [f"{dataset}: no folder given; set data.{dataset} in site.toml or pass --{flag} DIR"]
    if not root.is_dir():
        return [f"{dataset}: no folder {root}; {NEXT_STEP[dataset]}"]
    folders = [root / part for part in parts or PARTS.get(dataset, ())] or [root]
    problems = [line for folder in folders for line in CHECKS[dataset](folder)]
    return [f"{dataset}: {problem}; {NEXT_STEP[dataset]}" for problem in problems]


def shifted_folders(part: str) -> list[str]:
    """Return the folders of class folders below the root that make up one of SHIFTED."""
    if part != "imagenet-c":
        return [part]
    return [f"{part}/{corruption}/{level}" for corruption in CORRUPTIONS for level in SEVERITIES]


def class_names(root: Path) -> list[str]:
    """Return the classes of an ImageNet root: its folders, or the list beside its shards."""
    if (root / CLASSES).exists():
        return (root / CLASSES).read_text().split("\n")[:-1]
    return folders_in(root / "train")


def ade_class_names(root: Path) -> list[str]:
    """Return the class names of an ADE-format root, class 1 first.

    They are the Name column of objectInfo150.txt, or the lines of classes.txt for data of one's
    own. Raises ValueError naming the file if there is neither or it cannot be read as such.
    """
    path = root / OBJECT_INFO
    if not path.is_file():
        return _listed_names(root / CLASSES)
    header, *rows = path.read_text().splitlines() or [""]
    if "Name" not in header.split("\t"):
        raise ValueError(f"{path} must be a tab-separated table with a Name column, got {header!r}")
    column = header.split("\t").index("Name")
    names = []
    for number, row in enumerate(rows, start=2):
        cells = row.split("\t")
        if row.strip() and len(cells) <= column:
            raise ValueError(
                f"{path}, line {number}: {len(cells)} columns, expected a Name in column "
                f"{column + 1}; copy the file again"
            )
        if row.strip():
            names.append(cells[column].strip())
    return names


def image_suffix(folder: Path) -> str:
    """Return the one suffix of a folder's images; ValueError for several, or for none.

    Of several, some would be left out.
    """
    found = sorted({Path(entry.name).suffix for entry in os.scandir(folder) if entry.is_file()})
    if len(found) != 1:
        raise ValueError(f"{folder} must have images of one suffix, got {found}")
    return found[0]


def _listed_names(path: Path) -> list[str]:
    """Return the lines of a class list; ValueError without one, or for names given twice."""
    if not path.is_file():
        raise ValueError(f"no file {path.parent / OBJECT_INFO}, and no {path.name} beside it")
    names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        found = f"twice {', '.join(twice)}" if twice else "none"
        raise ValueError(f"{path} must have a class name on each line, each once, got {found}")
    return names


def _check_imagenet(root: Path) -> list[str]:
    """Return missing splits, empty classes, and classes that only one split has."""
    problems, classes = [], {}
    for split in ("train", "val"):
        if not (root / split).is_dir():
            problems.append(f"no folder {root / split}")
            continue
        if any(entry.name.endswith(".tar") for entry in os.scandir(root / split)):
            continue
        folders = folders_in(root / split)
        classes[split] = set(folders)
        empty = [name for name in folders if not _any_file(root / split / name)]
        if not folders:
            problems.append(f"{root / split} has no class folders, expected one for each class")
        if empty:
            problems.append(f"{root / split} has {len(empty)} empty class folders: {_some(empty)}")
    if len(classes) == 2 and classes["train"] != classes["val"]:
        odd = sorted(classes["train"] ^ classes["val"])
        problems.append(
            f"{root}: train has {len(classes['train'])} classes and val {len(classes['val'])}, "
            f"expected the same; only in one: {_some(odd)}"
        )
    return problems


def _check_coco(root: Path) -> list[str]:
    """Return missing folders and annotation files; what is in them is looked at by the audit."""
    problems = []
    for split in SPLITS:
        try:
            coco_split(root, split)
        except ValueError as error:
            problems.append(str(error))
    return problems


def _check_ade20k(root: Path) -> list[str]:
    """Return missing folders, and images and label maps without their counterpart."""
    problems = []
    try:
        ade_class_names(root)
    except ValueError as error:
        problems.append(str(error))
    for split in ("training", "validation"):
        folders = [root / kind / split for kind in ("images", "annotations")]
        absent = [f"no folder {folder}" for folder in folders if not folder.is_dir()]
        if absent:
            problems += absent
            continue
        images, labels = ({Path(entry.name).stem for entry in os.scandir(f)} for f in folders)
        if images != labels or not images:
            odd = sorted(images ^ labels)
            problems.append(
                f"{root}: {split} has {len(images)} images and {len(labels)} label maps, expected "
                f"one for one; without counterpart: {_some(odd)}"
            )
    return problems


def _check_shifted(folder: Path) -> list[str]:
    """Return what one of SHIFTED lacks: folders, class folders, images in them.

    All parts of imagenet-c must have the same classes; its 75,000 class folders are not opened.
    """
    problems: list[str] = []
    first: set[str] | None = None
    for name in shifted_folders(folder.name):
        part = folder.parent / name
        if not part.is_dir():
            problems.append(f"no folder {part}")
            continue
        classes = set(folders_in(part))
        first = classes if first is None else first
        if not classes:
            problems.append(f"{part} has no class folders, expected one for each class")
        elif classes != first:
            odd = sorted(classes ^ first)
            problems.append(
                f"{part} has {len(classes)} classes, expected the {len(first)} of the parts before "
                f"it; only in one: {_some(odd)}"
            )
        elif name == folder.name:
            empty = sorted(one for one in classes if not _any_file(part / one))
            if empty:
                problems.append(f"{part} has {len(empty)} empty class folders: {_some(empty)}")
    return problems


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    "imagenet": _check_imagenet,
    "coco": _check_coco,
    "ade20k": _check_ade20k,
    "imagenet_robustness": _check_shifted,
    "voc": list_problems,
}


def _any_file(folder: Path) -> bool:
    """Return whether the folder has an entry."""
    return next(os.scandir(folder), None) is not None


def _some(names: Any) -> str:
    """Return the first three names and the count of the others."""
    names = list(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more if names else "none"


def folders_in(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder, through links too.

    Raises ValueError naming a link that leads to itself.
    """
    return sorted(entry.name for entry in os.scandir(folder) if is_folder(entry))


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError as error:  # a link to itself
        raise ValueError(
            f"{entry.path} cannot be followed ({error.strerror}); remove it"
        ) from error
