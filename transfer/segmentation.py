"""What all segmenters' recipes share: the fields of UperNet on a ViT, their checks, the files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from mae_bench.core.recipe import Context, Resources, require
from mae_bench.kit.archs import Arch
from mae_bench.kit.work import (
    FLOAT_BYTES,
    Work,
    encoder_multiply_adds,
    encoder_parameters,
    forward_flops,
    training_flops,
)
from transfer.dense_work import (
    conv_weights,
    toolbox_arch,
    upernet_multiply_adds,
    upernet_parameters,
)

POSITIVE = ("crop_size", "stride", "iterations", "head_width", "auxiliary_width")
NOT_NEGATIVE = ("weight_decay", "auxiliary_weight")
SHARES = ("drop_path", "head_dropout")
WINDOWS = 2
"""Test windows of an image: two for one whose sides are as 4 to 3."""
LABEL_BYTES = 25_000
"""Of one predicted label map, roughly."""
Part = Literal["train", "test"]


@dataclass(frozen=True)
class LabelledImages:
    """The images of a split and their label maps, which have the same names but for the suffix."""

    images: Path
    labels: Path
    names: Path | None = None
    """A file with one name a line, without suffix; None: all images of the folder count."""


DEMO: dict[str, Any] = {
    "taps": (0, 1, 2, 3),
    "crop_size": 64,
    "stride": 32,
    "long_side": 384,
    "short_side": 96,
    "scale_min": 0.75,
    "scale_max": 1.5,
    "batch_size": 16,
    "lr": 1e-3,
    "layer_decay": 0.9,
    "drop_path": 0.0,
    "head_width": 48,
    "auxiliary_width": 32,
}
"""A segmenter's values for two CPU cores: 96-pixel scenes, 64-pixel crops, narrow heads."""
LARGER: dict[str, dict[str, Any]] = {
    "vit_large_patch16": {"taps": (7, 11, 15, 23), "head_width": 1024},
    "vit_huge_patch14": {"taps": (7, 15, 23, 31), "head_width": 1024},
}
"""What sizes above ViT-B take otherwise; ViT-H, which nobody measured, has L's width and a tap
after every quarter."""


@dataclass(frozen=True, kw_only=True)
class SegmentationRecipe:
    """Common fields of UperNet on four taps; subclasses add `name`, where the data is, and `run`.

    Defaults are ViT-B's in mmsegmentation's MAE config.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    dataset: ClassVar[str]
    after: ClassVar[str] = ""
    resources: ClassVar[Resources]

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
    reduce_zero_label: bool
    """Whether label 0 counts for nothing and label 1 is the first class; else 0 is the first."""
    iterations: int
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
    head_dropout: float = field(default=0.1, metadata={"neutral": 0.1})
    """Share of the channels that both heads drop before their last layer, in [0, 1)."""
    auxiliary_width: int = 256
    """Channels of the auxiliary FCN head."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss."""
    training_rules: Literal["mended", "mmsegmentation"] = field(
        default="mended", metadata={"neutral": "mended"}
    )
    """`mmsegmentation` repeats two slips of its release 1.2.2 to compare with numbers made by it:
    position embedding and cls token are decayed, and training is in fp32 whatever the precision."""

    def __post_init__(self) -> None:
        rising = list(self.taps) == sorted(set(self.taps)) and len(self.taps) == 4
        require(self, "taps", "four rising block numbers", rising and self.taps[0] >= 0)
        for name in POSITIVE:
            require(self, name, ">= 1", getattr(self, name) >= 1)
        require(self, "crop_size", ">= 16", self.crop_size >= 16)
        require(self, "stride", f"in [1, {self.crop_size}]", self.stride <= self.crop_size)
        require(self, "short_side", f">= {self.crop_size}", self.short_side >= self.crop_size)
        require(self, "long_side", f">= {self.short_side}", self.long_side >= self.short_side)
        require(self, "scale_min", "> 0", self.scale_min > 0)
        require(self, "scale_max", f">= {self.scale_min}", self.scale_max >= self.scale_min)
        fits = 0 <= self.warmup_iterations < self.iterations
        require(self, "warmup_iterations", f"in [0, {self.iterations})", fits)
        require(self, "batch_size", ">= 2", self.batch_size >= 2)
        require(self, "lr", "> 0", self.lr > 0)
        require(self, "layer_decay", "in (0, 1]", 0 < self.layer_decay <= 1)
        for name in NOT_NEGATIVE:
            require(self, name, ">= 0", getattr(self, name) >= 0)
        for name in SHARES:
            require(self, name, "in [0, 1)", 0 <= getattr(self, name) < 1)

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all iterations and of the test windows."""
        arch = toolbox_arch(arch)
        grid = self.crop_size // arch.patch_size
        image = encoder_multiply_adds(arch, self.crop_size)
        image += round(upernet_multiply_adds(grid, arch.width, self.head_width))
        auxiliary = grid**2 * conv_weights(arch.width, self.auxiliary_width)
        parameters = encoder_parameters(arch, self.crop_size)
        parameters += upernet_parameters(arch.width, self.head_width, self.auxiliary_width)
        tests = data["val_images"]
        return Work(
            flops=training_flops(self.iterations * self.batch_size, image + auxiliary)
            + forward_flops(WINDOWS * tests, image),
            trained=parameters,
            left_bytes=float(FLOAT_BYTES * parameters + LABEL_BYTES * tests),
        )

    def lr_factor(self, iteration: int) -> float:
        """Return the factor of the learning rate at an iteration counted from 0.

        That of mmengine's LinearLR and PolyLR of power 1: from a millionth to 1 at the last
        warm-up iteration, then linearly to 0 at the last.
        """
        if iteration < self.warmup_iterations:
            done = iteration / max(1, self.warmup_iterations - 1)
            return 1e-6 * (1 - done) + done
        rest = self.iterations - self.warmup_iterations
        return 1.0 - (iteration - self.warmup_iterations) / max(1, rest - 1)

    def class_names(self, root: Path) -> list[str]:
        """Return the names of the classes of the data in root, in label order."""
        raise TypeError(f"{type(self).__name__} has no classes")

    def split(self, root: Path, part: Part) -> LabelledImages:
        """Return where the images to train on or to test on lie."""
        raise TypeError(f"{type(self).__name__} has no data")

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the mean IoU of the last weights on the test images."""
        from transfer.mmseg_adapter.segment import segment

        return segment(self, ctx)
