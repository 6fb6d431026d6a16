"""ADE20K as mmsegmentation reads it, in an order fixed by the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Dataset

from mae_bench.kit.datasets import BatchesFrom, Order, Place, loader_options
from mae_bench.kit.layouts import ade_class_names
from mae_bench.kit.randomness import seed_globals

if TYPE_CHECKING:
    from transfer.ade20k_upernet import Ade20kUperNet


class SeededScenes(Dataset[Any]):
    """Training images through mmseg's pipeline; randomness depends on (seed, epoch, index)."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, place: Place) -> Any:
        """Return the packed image and label map at that place."""
        seed_globals(self.seed, "view", *place)
        return self.dataset[place[1]]


def train_loader(recipe: "Ade20kUperNet", root: Path, seed: int, start: int) -> DataLoader[Any]:
    """Return the batches from iteration `start` on, to the end of the run."""
    from mmengine.dataset import pseudo_collate

    dataset = build_dataset(root, "training", train_pipeline(recipe))
    steps_per_epoch = max(1, len(dataset) // recipe.batch_size)
    epochs = -(-recipe.iterations // steps_per_epoch)
    order = Order(len(dataset), recipe.batch_size, epochs, seed)
    return DataLoader(
        SeededScenes(dataset, seed),
        batch_sampler=BatchesFrom(order, start),
        collate_fn=pseudo_collate,
        num_workers=loader_options()["num_workers"],
    )


def eval_loader(recipe: "Ade20kUperNet", root: Path) -> DataLoader[Any]:
    """Return every validation image once, in order; sizes differ, so one a batch."""
    from mmengine.dataset import pseudo_collate

    dataset = build_dataset(root, "validation", eval_pipeline(recipe))
    return DataLoader(
        dataset,
        batch_size=1,
        collate_fn=pseudo_collate,
        num_workers=loader_options()["num_workers"],
    )


def build_dataset(root: Path, split: str, pipeline: list[dict[str, Any]]) -> Any:
    """Return mmsegmentation's dataset of that split; label 0 is ignored."""
    from mmseg.registry import DATASETS

    return DATASETS.build(
        {
            "type": "BaseSegDataset",
            "data_root": str(root.resolve()),
            "data_prefix": {
                "img_path": f"images/{split}",
                "seg_map_path": f"annotations/{split}",
            },
            "img_suffix": ".jpg",
            "seg_map_suffix": ".png",
            "reduce_zero_label": True,
            "metainfo": {"classes": tuple(ade_class_names(root))},
            "pipeline": pipeline,
        }
    )


def train_pipeline(recipe: "Ade20kUperNet") -> list[dict[str, Any]]:
    """Return random scale, crop, flip and photometric distortion."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "LoadAnnotations", "reduce_zero_label": True},
        {
            "type": "RandomResize",
            "scale": (recipe.long_side, recipe.short_side),
            "ratio_range": (recipe.scale_min, recipe.scale_max),
            "keep_ratio": True,
        },
        {
            "type": "RandomCrop",
            "crop_size": (recipe.crop_size, recipe.crop_size),
            "cat_max_ratio": 0.75,
        },
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]


def eval_pipeline(recipe: "Ade20kUperNet") -> list[dict[str, Any]]:
    """Return the resize of test images; their labels keep their own size."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (recipe.long_side, recipe.short_side), "keep_ratio": True},
        {"type": "LoadAnnotations", "reduce_zero_label": True},
        {"type": "PackSegInputs"},
    ]
