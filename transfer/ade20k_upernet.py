"""ADE20K segmentation with UperNet: the recipe; it runs in mmseg_adapter."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS


@dataclass(frozen=True, kw_only=True)
class Ade20kUperNet:
    """UperNet on four taps of the encoder, He et al. 2021 (arXiv 2111.06377), A.4.

    Defaults are ViT-B's in mmsegmentation's MAE config (48.1 mIoU); the paper's learning rates for
    each entry were never published.
    """

    name: ClassVar[str] = "ade20k_upernet"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "ade20k"
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("miou", "ADE20K mIoU"),)
    resources: ClassVar[Resources] = Resources(
        gpus=8, hours=16.0, framework="mmseg", demo_seconds=75.0
    )
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS[:2]

    taps: tuple[int, ...] = (3, 5, 7, 11)
    """The four blocks whose outputs are taken, counted from 0; ViT-L: 7, 11, 15, 23."""
    crop_size: int = 512
    """Side in pixels of training crops and of the test window."""
    stride: int = 341
    """Step in pixels of the sliding test window."""
    long_side: int = 2048
    """Most pixels of an image's longer side before random scaling and at test time."""
    short_side: int = 512
    """Pixels of an image's shorter side before random scaling and at test time."""
    scale_min: float = 0.5
    """Least factor of random scaling."""
    scale_max: float = 2.0
    """Greatest factor of random scaling."""
    iterations: int = 160000
    """Optimiser steps."""
    warmup_iterations: int = 1500
    """Iterations of linear warm-up from a millionth of the learning rate."""
    batch_size: int = 16
    """Images per optimiser step over all devices."""
    lr: float = 1e-4
    """Learning rate after warm-up; falls linearly to 0."""
    layer_decay: float = 0.65
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    weight_decay: float = 0.05
    """AdamW weight decay of matrices; biases, norms, positions and cls token have none."""
    drop_path: float = 0.1
    """Stochastic depth of the last block, rising linearly from 0 at the first."""
    head_width: int = 768
    """Channels of UperNet's head; ViT-L: 1024."""
    auxiliary_width: int = 256
    """Channels of the auxiliary FCN head."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss."""

    def __post_init__(self) -> None:
        rising = list(self.taps) == sorted(set(self.taps)) and len(self.taps) == 4
        require(self, "taps", "four rising block numbers", rising and self.taps[0] >= 0)
        require(self, "crop_size", ">= 16", self.crop_size >= 16)
        require(self, "stride", f"in [1, {self.crop_size}]", 1 <= self.stride <= self.crop_size)
        require(self, "short_side", f">= {self.crop_size}", self.short_side >= self.crop_size)
        require(self, "long_side", f">= {self.short_side}", self.long_side >= self.short_side)
        require(self, "scale_min", "> 0", self.scale_min > 0)
        require(self, "scale_max", f">= {self.scale_min}", self.scale_max >= self.scale_min)
        require(self, "iterations", ">= 1", self.iterations >= 1)
        fits = 0 <= self.warmup_iterations < self.iterations
        require(self, "warmup_iterations", f"in [0, {self.iterations})", fits)
        require(self, "batch_size", ">= 2", self.batch_size >= 2)
        require(self, "lr", "> 0", self.lr > 0)
        require(self, "layer_decay", "in (0, 1]", 0 < self.layer_decay <= 1)
        require(self, "weight_decay", ">= 0", self.weight_decay >= 0)
        require(self, "drop_path", "in [0, 1)", 0 <= self.drop_path < 1)
        require(self, "head_width", ">= 1", self.head_width >= 1)
        require(self, "auxiliary_width", ">= 1", self.auxiliary_width >= 1)
        require(self, "auxiliary_weight", ">= 0", self.auxiliary_weight >= 0)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the published values for ViT-B and L.

        No numbers were published for ViT-H: it takes L's, with a tap after every quarter.
        """
        if arch == "vit_large_patch16":
            return dataclasses.replace(cls(), taps=(7, 11, 15, 23), head_width=1024)
        if arch == "vit_huge_patch14":
            return dataclasses.replace(cls(), taps=(7, 15, 23, 31), head_width=1024)
        return cls()

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: 96-pixel scenes, 64-pixel crops, narrow heads."""
        return dataclasses.replace(
            cls(),
            taps=(0, 1, 2, 3),
            crop_size=64,
            stride=32,
            long_side=384,
            short_side=96,
            scale_min=0.75,
            scale_max=1.5,
            iterations=110,
            warmup_iterations=20,
            batch_size=16,
            lr=1e-3,
            layer_decay=0.9,
            drop_path=0.0,
            head_width=48,
            auxiliary_width=32,
        )

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the mean IoU of the last weights on the validation images."""
        from transfer.mmseg_adapter.segment import segment

        return segment(self, ctx)
