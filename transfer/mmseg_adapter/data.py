"""Images and label maps as mmsegmentation reads them, in an order fixed by the seed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mae_bench.kit.datasets import TRIES, BatchesFrom, Order, Place, loader_options
from mae_bench.kit.layouts import image_suffix
from mae_bench.kit.machine import Machine
from mae_bench.kit.randomness import seed_globals
from transfer.mmseg_adapter.labels import LoadLabels
from transfer.mmseg_adapter.model import ignored_index

if TYPE_CHECKING:
    from transfer.segmentation import Part, SegmentationRecipe

SPOILT = (
    OSError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    cv2.error,
    AssertionError,  # mmcv's word for what OpenCV made nothing of
)
"""What the readers of images and label maps raise for a file that is spoilt or not there."""
MOST_PLAIN = 254
"""Classes up to which mmsegmentation's own LoadAnnotations reads every label right."""


class SeededScenes(Dataset[Any]):
    """Training images through mmseg's pipeline; randomness depends on (seed, epoch, index)."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.metainfo = dataset.metainfo
        self.seed = seed

    def __getitem__(self, place: Place) -> Any:
        """Return the packed image and label map at that place.

        One that cannot be read is replaced by the next that can, whoever asks; `unreadable` of the
        label map then holds its index and why. A wrong label is an error all the same.
        """
        index, reason = place[1], ""
        for offset in range(TRIES):
            taken = (index + offset) % len(self.dataset)
            seed_globals(self.seed, "view", *place)
            try:
                sample = self.dataset[taken]
            except SPOILT as error:
                reason = reason or f"{self.dataset.get_data_info(taken)['img_path']}: {error}"
                continue
            if offset:
                sample["data_samples"].set_metainfo({"unreadable": (index, reason)})
            return sample
        raise ValueError(
            f"{TRIES} images in a row cannot be read, first {reason}; copy the data again"
        )


def train_loader(dataset: SeededScenes, places: BatchesFrom, workers: int) -> DataLoader[Any]:
    """Return the micro-batches of those places, to the end of the run."""
    from mmengine.dataset import pseudo_collate

    return DataLoader(
        dataset,
        batch_sampler=places,
        collate_fn=pseudo_collate,
        **_options(workers),
    )


def train_order(recipe: "SegmentationRecipe", num_images: int, seed: int) -> Order:
    """Return the order of a run of the recipe's iterations."""
    steps_per_epoch = max(1, num_images // recipe.batch_size)
    epochs = -(-recipe.iterations // steps_per_epoch)
    return Order(num_images, recipe.batch_size, epochs, seed)


def eval_loader(dataset: Any, machine: Machine) -> DataLoader[Any]:
    """Return this rank's test images, each once over all ranks; sizes differ, so one a batch.

    mmengine's own sampler repeats images until ranks have equally many.
    """
    from mmengine.dataset import pseudo_collate

    ranks = machine.ranks
    return DataLoader(
        dataset,
        batch_size=1,
        sampler=range(ranks.rank, len(dataset), ranks.world),
        collate_fn=pseudo_collate,
        **_options(machine.compute.workers),
    )


def build_dataset(recipe: "SegmentationRecipe", root: Path, part: "Part") -> Any:
    """Return mmsegmentation's dataset of the images to train on or to test on."""
    from mmseg.registry import DATASETS

    names = recipe.class_names(root)
    files, make = recipe.split(root, part), train_pipeline if part == "train" else eval_pipeline
    for path in (files.images, files.labels, *filter(None, (files.names,))):
        if not path.exists():
            raise ValueError(f"{recipe.name} needs {path} to {part} on, and it is not there")
    if files.names is not None:
        _refuse_blank_lines(files.names)
    labels = LoadLabels(recipe.reduce_zero_label, len(names))
    config = dataset_config(recipe, root, part) | {"pipeline": make(recipe, labels, len(names))}
    dataset = DATASETS.build(config)
    if len(dataset) == 0:
        raise ValueError(f"no images to {part} on in {files.images}")
    return dataset


def _refuse_blank_lines(names: Path) -> None:
    """Raise ValueError for a line without a name, which mmsegmentation takes for an image."""
    for number, line in enumerate(names.read_text().splitlines(), start=1):
        if not line.strip():
            raise ValueError(
                f"{names} has no name in line {number}, expected one image a line; remove the line"
            )


def dataset_config(recipe: "SegmentationRecipe", root: Path, part: "Part") -> dict[str, Any]:
    """Return mmengine's config of a split, without its pipeline."""
    files = recipe.split(root.resolve(), part)
    return {
        "type": "BaseSegDataset",
        "data_prefix": {"img_path": str(files.images), "seg_map_path": str(files.labels)},
        "ann_file": "" if files.names is None else str(files.names),
        "img_suffix": image_suffix(files.images),
        "seg_map_suffix": ".png",
        "reduce_zero_label": recipe.reduce_zero_label,
        "ignore_index": ignored_index(len(recipe.class_names(root))),
        "metainfo": {"classes": tuple(recipe.class_names(root))},
    }


def plain_labels(recipe: "SegmentationRecipe", num_classes: int) -> dict[str, Any]:
    """Return what reads labels in a config file: mmsegmentation's own where that can."""
    settings = {"reduce_zero_label": recipe.reduce_zero_label}
    if num_classes <= MOST_PLAIN:
        return {"type": "LoadAnnotations", **settings}
    name = f"{LoadLabels.__module__}.{LoadLabels.__name__}"
    return {"type": name, **settings, "num_classes": num_classes}


def train_pipeline(recipe: "SegmentationRecipe", labels: Any, num_classes: int) -> list[Any]:
    """Return random scale, crop, flip and photometric distortion; `labels` loads label maps."""
    crop = {
        "type": "RandomCrop",
        "crop_size": (recipe.crop_size, recipe.crop_size),
        "cat_max_ratio": 0.75,
    }
    if num_classes > 255:
        crop["ignore_index"] = ignored_index(num_classes)
    return [
        {"type": "LoadImageFromFile"},
        labels,
        {
            "type": "RandomResize",
            "scale": (recipe.long_side, recipe.short_side),
            "ratio_range": (recipe.scale_min, recipe.scale_max),
            "keep_ratio": True,
        },
        crop,
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"},
        {"type": "PackSegInputs"},
    ]


def eval_pipeline(recipe: "SegmentationRecipe", labels: Any, num_classes: int) -> list[Any]:
    """Return the resize of test images; their labels keep their own size."""
    return [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (recipe.long_side, recipe.short_side), "keep_ratio": True},
        labels,
        {"type": "PackSegInputs"},
    ]


def _options(workers: int) -> dict[str, Any]:
    """Return the DataLoader's options; packed samples hold no plain tensors to pin."""
    return loader_options(workers) | {"pin_memory": False}
