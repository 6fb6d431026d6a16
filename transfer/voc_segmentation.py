"""PASCAL VOC 2012 segmentation with UperNet: the recipe; it runs in mmseg_adapter."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from mae_bench.core.recipe import Metric, Resources
from mae_bench.kit.voc_files import LABEL_FOLDERS, SEGMENTATION_2012, VOC_CLASSES
from transfer.segmentation import DEMO, LARGER, LabelledImages, Part, SegmentationRecipe


@dataclass(frozen=True, kw_only=True)
class VocSegmentation(SegmentationRecipe):
    """UperNet on four taps, trained on VOC 2012's train list and tested on its val list.

    No paper gives values for a plain ViT on this data. The schedule (20k iterations, batch 16, crop
    512) is that of mmsegmentation's voc12 configs, all else that of `ade20k_upernet`. The val list
    is the test set here, as in the older tables: nothing may be chosen on it.
    """

    name: ClassVar[str] = "voc_segmentation"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "voc"
    sets: ClassVar[tuple[str, ...]] = (SEGMENTATION_2012,)
    """Folders of lists that the task reads."""
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("miou", "VOC 2012 mIoU", per_image="overlaps", protocol="voc-segmentation"),
    )
    apart: ClassVar[tuple[str, ...]] = ("crop_size", "stride")
    resources: ClassVar[Resources] = Resources(
        gpus=1, hours=6.0, framework="mmseg", demo_seconds=60.0
    )
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = ()

    train_list: Literal["train", "trainaug"] = "train"
    """`trainaug`: 10,582 images with the labels of Hariharan et al. 2011, SegmentationClassAug/."""
    reduce_zero_label: bool = False
    """Whether label 0 counts for nothing and label 1 is the first class; here 0 is background."""
    iterations: int = 20000
    """Optimiser steps."""

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the defaults: no values were published, so they are ADE20K's for that size."""
        return dataclasses.replace(cls(), **LARGER.get(arch, {}))

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes, 64-pixel crops, narrow heads."""
        return dataclasses.replace(cls(), iterations=80, warmup_iterations=15, **DEMO)

    def class_names(self, root: Path) -> list[str]:
        """Return background and the 20 classes."""
        return ["background", *VOC_CLASSES]

    def split(self, root: Path, part: Part) -> LabelledImages:
        """Return where the images to train on or to test on lie."""
        chosen = self.train_list if part == "train" else "val"
        year = root / "VOC2012"
        labels = year / LABEL_FOLDERS.get(chosen, "SegmentationClass")
        return LabelledImages(
            year / "JPEGImages", labels, root / SEGMENTATION_2012 / f"{chosen}.txt"
        )
