"""Whether the images, annotations and label maps that VOC's lists name can be trained on."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mae_bench.kit.audit.coco import box_fault
from mae_bench.kit.audit.pictures import Pair, pair_faults, size_faults
from mae_bench.kit.audit.problems import Fault, Progress, inspected
from mae_bench.kit.voc_files import (
    LABEL_FOLDERS,
    MAIN_2007,
    SEGMENTATION_2012,
    SPLITS,
    VOC_CLASSES,
    VocObject,
    read_annotation,
    read_ids,
    read_labels,
)


def voc_faults(
    root: Path, lists: Sequence[str], train_list: str, progress: Progress
) -> Iterator[Fault]:
    """Yield everything that is wrong with the images of those folders of lists.

    `train_list` names that of the images a segmenter is trained on.
    """
    for folder in lists:
        if folder == SEGMENTATION_2012:
            yield from _map_list_faults(root, train_list, LABEL_FOLDERS[train_list], progress)
            yield from _map_list_faults(root, "val", LABEL_FOLDERS["train"], progress)
            continue
        ids: list[str] = []
        for split in SPLITS[folder]:
            try:
                ids += read_ids(root, folder, split)
                for name in VOC_CLASSES if folder == MAIN_2007 else ():
                    read_labels(root, folder, split, name)
            except ValueError as error:
                yield Fault("lists that cannot be read", str(error))
        year = root / Path(folder).parts[0]
        images = list(dict.fromkeys(ids))
        yield from inspected(partial(_object_faults, year), images, progress)


def _map_list_faults(
    root: Path, split: str, label_folder: str, progress: Progress
) -> Iterator[Fault]:
    """Yield what is wrong with a list of images and with their label maps in that folder."""
    try:
        ids = read_ids(root, SEGMENTATION_2012, split)
    except ValueError as error:
        yield Fault("lists that cannot be read", str(error))
        return
    year = root / "VOC2012"
    yield from inspected(
        partial(_map_faults, year / "JPEGImages", year / label_folder), ids, progress
    )


def _map_faults(images: Path, maps: Path, name: str) -> list[Fault]:
    """Return what is wrong with an image and its label map."""
    image, labels = images / f"{name}.jpg", maps / f"{name}.png"
    faults = [
        Fault(kind, f"{path}, which a list names")
        for kind, path in (("missing images", image), ("missing label maps", labels))
        if not path.is_file()
    ]
    return faults or pair_faults(Pair(image, labels, len(VOC_CLASSES)))


def _object_faults(year: Path, name: str) -> list[Fault]:
    """Return what is wrong with an image and its objects."""
    path = year / "Annotations" / f"{name}.xml"
    try:
        found = read_annotation(path)
    except FileNotFoundError:
        return [Fault("missing annotations", f"{path}, which a list names")]
    except ValueError as error:
        return [Fault("annotations that cannot be read", str(error))]
    size = (found.width, found.height)
    faults = size_faults(year / "JPEGImages" / f"{name}.jpg", size, path.name)
    for one in found.objects:
        faults += _one_object(path, one, size)
    return faults


def _one_object(path: Path, one: VocObject, size: tuple[int, int]) -> list[Fault]:
    """Return what is wrong with an object in an image of that size."""
    faults = []
    if one.name not in VOC_CLASSES:
        faults.append(Fault("objects of an unknown class", f"{path} has {one.name!r}"))
    xmin, ymin, xmax, ymax = one.box  # 1-based, with the last pixels
    fault = box_fault([xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1], size)
    if fault is not None:
        kind, _, fatal = fault
        corners = ", ".join(f"{edge:g}" for edge in one.box)
        where = f"{path}: {one.name} at {corners} in {size[0]} x {size[1]} pixels"
        faults.append(Fault(kind, where, fatal))
    return faults
