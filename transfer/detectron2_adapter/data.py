"""What a detector is trained and tested on, in detectron2's form, in an order fixed by the seed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.data import build_detection_test_loader
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.common import DatasetFromList
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.datasets.coco import load_coco_json
from detectron2.evaluation import DatasetEvaluator
from torch.utils.data import DataLoader, Dataset

from mae_bench.kit.coco_files import SplitName, coco_split
from mae_bench.kit.datasets import TRIES, BatchesFrom, Order, Place, loader_options
from mae_bench.kit.decode import UNREADABLE
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.split import Split as BatchSplit
from transfer.detectron2_adapter.config import eval_mapper, train_mapper

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

Record = dict[str, Any]
PREFETCH = 2
"""Batches that a worker reads ahead: each image is several tensors, and a shared tensor a file."""


@dataclass(frozen=True)
class DetectionData:
    """A data set as the engine takes it, whatever its files look like."""

    train: list[Record]
    """Training images in detectron2's form, classes counted from 0; those without an object
    (crowds are none) are left out of training, as detectron2 does."""
    test: list[Record]
    """Test images, every one of which is scored once."""
    class_names: tuple[str, ...]
    """No two alike; their order is that of the model's classes."""
    masks: bool
    """Whether every training object has a mask."""
    evaluator: Callable[[Path], DatasetEvaluator]
    """The job's folder -> what detectron2's inference_on_dataset feeds on every rank. Its
    evaluate() gathers from all ranks; on the first it leaves files and facts in the folder and
    returns the recipe's metrics, on the others it returns None."""


@dataclass(frozen=True)
class Split:
    """One split of a COCO-format data set: its images in detectron2's form, and its categories."""

    annotations: Path
    records: list[Record]
    category_ids: tuple[int, ...]
    """COCO's ids, sorted; the model's class i is the i-th of them."""
    category_names: tuple[str, ...]
    """A name that occurs more than once has its id in it."""


def read_split(root: Path, name: SplitName) -> Split:
    """Return a split; classes are the annotation file's categories, gaps and all."""
    files = coco_split(root, name)
    content = json.loads(files.annotations.read_bytes())
    categories = sorted(content["categories"], key=lambda one: int(one["id"]))
    ids = tuple(category["id"] for category in categories)
    records = load_coco_json(str(files.annotations), str(files.images))
    contiguous = {category_id: i for i, category_id in enumerate(ids)}
    for record in records:
        for annotation in record["annotations"]:
            annotation["category_id"] = contiguous[annotation["category_id"]]
    return Split(files.annotations, records, ids, _names(categories))


def _names(categories: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the categories' names; those that repeat get their id, so that none hides another."""
    times = Counter(category["name"] for category in categories)
    return tuple(
        one["name"] if times[one["name"]] == 1 else f"{one['name']} (id {one['id']})"
        for one in categories
    )


def have_masks(records: list[Record], where: Path) -> bool:
    """Return whether the objects have masks; ValueError if only some of them do."""
    objects = [one for record in records for one in record["annotations"]]
    without = sum("segmentation" not in one for one in objects)
    if 0 < without < len(objects):
        raise ValueError(
            f"{where}: {without} of {len(objects)} objects have no mask (segmentation); a detector "
            "learns masks of all objects or of none: complete or remove them"
        )
    return bool(objects) and without == 0


class Mapped(Dataset[Record]):
    """Training images through detectron2's mapper; randomness depends on (seed, epoch, index)."""

    def __init__(self, records: list[Record], mapper: DatasetMapper, seed: int) -> None:
        self.records = DatasetFromList(records, copy=False)  # in one array that workers share
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, place: Place) -> Record:
        """Return the augmented image at that place, with its instances.

        One that cannot be read, or does not fit its annotations, is replaced by the next that can,
        whoever asks; `unreadable` then holds its index and why.
        """
        epoch, index = place
        reason = ""
        for offset in range(TRIES):
            record = self.records[(index + offset) % len(self.records)]
            seed_globals(self.seed, "view", epoch, index)
            try:
                mapped: Record = self.mapper(record)
            except UNREADABLE as error:
                reason = reason or f"{record['file_name']}: {error}"
                continue
            return mapped | ({"unreadable": (index, reason)} if offset else {})
        raise ValueError(
            f"{TRIES} images in a row cannot be read, first {reason}; copy the data again"
        )


class TrainFeed:
    """Training batches: the same images whatever the ranks, micro-batches and workers."""

    def __init__(
        self, recipe: "DetectionRecipe", data: DetectionData, seed: int, workers: int = -1
    ) -> None:
        kept = filter_images_with_only_crowd_annotations(data.train)
        if not kept:
            raise ValueError(f"none of the {len(data.train)} training images has an object")
        self.num_images = len(kept)
        steps_per_epoch = max(1, len(kept) // recipe.batch_size)
        epochs = -(-recipe.iterations // steps_per_epoch)
        self.order = Order(len(kept), recipe.batch_size, epochs, seed)
        self.views = Mapped(kept, train_mapper(recipe, data.masks), seed)
        self.workers = workers

    def batches(
        self, start: int, split: BatchSplit | None = None, detour: int = 0
    ) -> Iterator[list[Record]]:
        """Return the rank's micro-batches from iteration `start` on."""
        options = loader_options(self.workers) | {"pin_memory": False}
        if options["num_workers"]:
            options["prefetch_factor"] = PREFETCH
        places = BatchesFrom(self.order, start, split, detour)
        return iter(DataLoader(self.views, batch_sampler=places, collate_fn=list, **options))


def test_loader(recipe: "DetectionRecipe", data: DetectionData, workers: int = -1) -> Any:
    """Return detectron2's loader of this rank's test images, one by one: all of them once.

    One by one, what is found in an image depends on no other, so neither on the ranks.
    """
    if not data.test:
        raise ValueError("the data set has no test image; a detector cannot be scored")
    return build_detection_test_loader(
        data.test,
        mapper=eval_mapper(recipe),
        num_workers=loader_options(workers)["num_workers"],
    )
