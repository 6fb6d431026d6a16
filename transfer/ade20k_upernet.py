"""ADE20K segmentation with UperNet: the recipe; it runs in mmseg_adapter."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

from mae_bench.core.recipe import Metric, Resources
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS
from mae_bench.kit.layouts import ade_class_names
from transfer.segmentation import DEMO, LARGER, LabelledImages, Part, SegmentationRecipe

FOLDERS = {"train": "training", "test": "validation"}


@dataclass(frozen=True, kw_only=True)
class Ade20kUperNet(SegmentationRecipe):
    """UperNet on four taps of the encoder, He et al. 2021 (arXiv 2111.06377), A.4.

    Defaults are ViT-B's in mmsegmentation's MAE config (48.1 mIoU); the paper's learning rates for
    each entry were never published. Any data in ADE20K's format can be given, with its own classes.
    """

    name: ClassVar[str] = "ade20k_upernet"
    version: ClassVar[int] = 2
    dataset: ClassVar[str] = "ade20k"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("miou", "ADE20K mIoU", per_image="overlaps", protocol="ade20k-upernet"),
    )
    apart: ClassVar[tuple[str, ...]] = ("crop_size", "stride")
    resources: ClassVar[Resources] = Resources(
        gpus=8, hours=16.0, framework="mmseg", demo_seconds=75.0
    )
    published_origins: ClassVar[tuple[str, ...]] = (*PAPER_ORIGINS, "moco_v3")
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS[:2]

    reduce_zero_label: bool = field(default=True, metadata={"neutral": True})
    """Whether label 0 counts for nothing and label 1 is the first class; else 0 is the first."""
    iterations: int = 160000
    """Optimiser steps."""

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the published values for ViT-B and L, whatever the origin.

        No numbers were published for ViT-H: it takes L's, with a tap after every quarter.
        """
        return dataclasses.replace(cls(), **LARGER.get(arch, {}))

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return half the iterations: mmsegmentation's schedule_80k, its other one for ADE20K."""
        return dataclasses.replace(cls.published(arch, origin), iterations=80_000)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes, 64-pixel crops, narrow heads."""
        return dataclasses.replace(cls(), iterations=110, warmup_iterations=20, **DEMO)

    def class_names(self, root: Path) -> list[str]:
        """Return the names of the classes of the data in root, in label order."""
        return ade_class_names(root)

    def split(self, root: Path, part: Part) -> LabelledImages:
        """Return where the images to train on or to test on lie."""
        return LabelledImages(*(root / kind / FOLDERS[part] for kind in ("images", "annotations")))
