"""The from-scratch supervised baseline of the MAE paper: the recipe; see supervised_model.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from mae_bench.core.recipe import Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, Arch
from mae_bench.kit.work import (
    FLOAT_BYTES,
    Work,
    encoder_multiply_adds,
    encoder_parameters,
    forward_flops,
    training_flops,
)
from pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from pretrain.supervised_model import SupervisedObjective

BASE_OR_SMALLER = ("vit_tiny_patch16", "vit_small_patch16", "vit_base_patch16")


@dataclass(frozen=True, kw_only=True)
class Supervised(PretrainRecipe):
    """Supervised training from scratch, He et al. 2021 (arXiv 2111.06377), A.2 and Table 11.

    Defaults are those of ViT-L and H; ViT-B takes 300 epochs and drop path 0.1. The paper does not
    say how the tokens are pooled: here the cls token after the final norm, as in the original ViT.
    """

    name: ClassVar[str] = "supervised"
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("top1", "top-1", per_image="correct"),)
    resources: ClassVar[Resources] = Resources(gpus=64, hours=40.0, demo_seconds=110.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS

    epochs: int = 200
    warmup_epochs: int = 20
    lr_per_256: float = 1e-4
    weight_decay: float = 0.3
    drop_path: float = 0.2
    """Stochastic depth of the last block, rising linearly from 0 at the first."""
    rand_augment: str = "rand-m9-mstd0.5"
    """timm's RandAugment string; empty for none."""
    label_smoothing: float = 0.1
    """Probability mass spread over all classes."""
    mixup: float = 0.8
    """Alpha of mixup's beta distribution; 0 for none."""
    cutmix: float = 1.0
    """Alpha of cutmix's beta distribution; 0 for none."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""
    ema_decay: float = 0.9999
    """Decay per step of the averaged weights, which are kept; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "drop_path", "in [0, 1)", 0 <= self.drop_path < 1)
        require(self, "label_smoothing", "in [0, 1)", 0 <= self.label_smoothing < 1)
        require(self, "mixup", ">= 0", self.mixup >= 0)
        require(self, "cutmix", ">= 0", self.cutmix >= 0)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)
        require(self, "ema_decay", "in [0, 1)", 0 <= self.ema_decay < 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return A.2's values: 300 epochs and drop path 0.1 up to ViT-B, 200 and 0.2 above."""
        if arch in BASE_OR_SMALLER:
            return dataclasses.replace(cls(), arch=arch, epochs=300, drop_path=0.1)
        return dataclasses.replace(cls(), arch=arch)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores; the regularisation is cut with the schedule."""
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=64,
            epochs=9,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=4e-3,
            weight_decay=0.05,
            drop_path=0.0,
            rand_augment="",
            mixup=0.0,
            cutmix=0.0,
            crop_scale_min=0.35,
            ema_decay=0.0,
        )

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all epochs and of the test; averaged weights are kept beside."""
        image = encoder_multiply_adds(arch, self.image_size)
        parameters = encoder_parameters(arch, self.image_size) + data["classes"] * arch.width
        return Work(
            flops=training_flops(self.epochs * data["images"], image)
            + forward_flops(data["val_images"], image),
            trained=parameters,
            frozen=parameters if self.ema_decay else 0,
            left_bytes=2.0 * FLOAT_BYTES * parameters,
        )

    def objective(self, data: Path) -> "SupervisedObjective":
        """Return the classifier for the classes of `data`, freshly initialised."""
        from mae_bench.kit.samples import read_samples
        from pretrain.supervised_model import SupervisedObjective

        return SupervisedObjective(self, len(read_samples(data, "train").classes))
