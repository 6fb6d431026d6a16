"""COCO's images and annotations as detectron2 reads them, in an order fixed by the seed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.data import transforms as T
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.datasets.coco import load_coco_json
from torch.utils.data import DataLoader, Dataset

from mae_bench.kit.datasets import BatchesFrom, Order, Place, loader_options
from mae_bench.kit.randomness import seed_globals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transfer.detection import DetectionRecipe

Record = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """One split: its images in detectron2's form, and its categories."""

    annotations: Path
    records: list[Record]
    category_ids: tuple[int, ...]
    """COCO's ids, sorted; the model's class i is the i-th of them."""
    category_names: tuple[str, ...]


def read_split(root: Path, split: str) -> Split:
    """Return train2017 or val2017; classes are the annotation file's categories, gaps and all."""
    path = root / "annotations" / f"instances_{split}.json"
    categories = sorted(json.loads(path.read_bytes())["categories"], key=lambda one: one["id"])
    ids = tuple(category["id"] for category in categories)
    records = load_coco_json(str(path), str(root / split))
    contiguous = {category_id: i for i, category_id in enumerate(ids)}
    for record in records:
        for annotation in record["annotations"]:
            annotation["category_id"] = contiguous[annotation["category_id"]]
    return Split(path, records, ids, tuple(category["name"] for category in categories))


class Mapped(Dataset[Record]):
    """Training images through detectron2's mapper; randomness depends on (seed, epoch, index)."""

    def __init__(self, records: list[Record], mapper: DatasetMapper, seed: int) -> None:
        self.records = records
        self.mapper = mapper
        self.seed = seed

    def __getitem__(self, place: Place) -> Record:
        """Return the augmented image at that place, with its instances."""
        seed_globals(self.seed, "view", *place)
        mapped: Record = self.mapper(self.records[place[1]])
        return mapped


def train_loader(recipe: "DetectionRecipe", split: Split, seed: int, start: int) -> "Iterator[Any]":
    """Return the batches from iteration `start` on; images with only crowds are left out."""
    records = filter_images_with_only_crowd_annotations(split.records)
    steps_per_epoch = max(1, len(records) // recipe.batch_size)
    epochs = -(-recipe.iterations // steps_per_epoch)
    order = Order(len(records), recipe.batch_size, epochs, seed)
    views = Mapped(records, train_mapper(recipe), seed)
    loader: DataLoader[Record] = DataLoader(
        views,
        batch_sampler=BatchesFrom(order, start),
        collate_fn=list,
        num_workers=loader_options()["num_workers"],
    )
    return iter(loader)


def train_mapper(recipe: "DetectionRecipe") -> DatasetMapper:
    """Return flip, large-scale jitter and crop, as in detectron2's coco_loader_lsj."""
    side = recipe.image_size
    return DatasetMapper(
        is_train=True,
        augmentations=[
            T.RandomFlip(horizontal=True),
            T.ResizeScale(recipe.scale_min, recipe.scale_max, side, side),
            T.FixedSizeCrop(crop_size=(side, side), pad=False),
        ],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",  # annotations may be polygons or run lengths
        recompute_boxes=True,
    )


def eval_mapper(recipe: "DetectionRecipe") -> DatasetMapper:
    """Return the resize to the square that the model then pads to."""
    side = recipe.image_size
    return DatasetMapper(
        is_train=False,
        augmentations=[T.ResizeShortestEdge(short_edge_length=side, max_size=side)],
        image_format="RGB",
    )
