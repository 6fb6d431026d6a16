"""Linear probing on ImageNet classification: the recipe; see linear_probe.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS, Arch
from mae_bench.kit.epochs import check_epoch_fields
from mae_bench.kit.work import (
    MAE_AUTHORS,
    Cost,
    Work,
    encoder_multiply_adds,
    encoder_parameters,
    forward_flops,
    training_flops,
)

OWN = ("mae", "supervised", "random_init")
"""Origins whose published learning rate is the single one of the paper."""
FACTORS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


@dataclass(frozen=True, kw_only=True)
class ImagenetLinear:
    """A linear layer on the frozen encoder's cls token, He et al. 2021, A.1 and Table 10.

    The features pass the encoder's final norm and a BatchNorm without affine parameters; the layer
    is trained by LARS. The paper has one learning rate for all sizes; for an encoder made
    elsewhere 16 are tried in the same pass, and the best on held-out training images is taken.
    """

    name: ClassVar[str] = "imagenet_linear"
    version: ClassVar[int] = 2
    dataset: ClassVar[str] = "imagenet"
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("top1", "linear top-1", per_image="correct", protocol="imagenet-linear"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(gpus=8, hours=12.0, demo_seconds=25.0)
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS
    published_costs: ClassVar[tuple[Cost, ...]] = (
        Cost(
            "vit_base_patch16",
            hours=140 / 60,
            gpus=32,
            device="V100",
            of=MAE_AUTHORS,
            source="2 h 20 min on 32 V100 for ViT-B (facebookresearch/mae, FINETUNE.md)",
        ),
    )

    image_size: int = 224
    """Side of the images in pixels; positions are resized if the encoder's differ."""
    epochs: int = 90
    """Passes over the training images."""
    warmup_epochs: int = 10
    """Epochs of linear warm-up from a learning rate of exactly 0."""
    batch_size: int = 16384
    """Images per optimiser step over all devices and accumulation steps."""
    lr_per_256: float = 0.1
    """Base learning rate; multiplied by batch_size / 256."""
    lr_factors: tuple[float, ...] = field(default=(1.0,), metadata={"neutral": [1.0]})
    """Multiples of the learning rate, each tried by a layer of its own in the same pass."""
    held_out: float = field(default=0.02, metadata={"neutral": 0.02})
    """Share of the training images kept for choosing among several learning rates, in (0, 1)."""
    min_lr: float = 0.0
    """Learning rate at the end of the half-cosine."""
    momentum: float = 0.9
    """LARS momentum, in [0, 1)."""
    trust: float = 0.001
    """LARS trust coefficient."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 1", self.image_size >= 1)
        check_epoch_fields(self)
        require(self, "batch_size", ">= 2", self.batch_size >= 2)
        factors = self.lr_factors
        distinct = len(set(factors)) == len(factors) > 0 and all(f > 0 for f in factors)
        require(self, "lr_factors", "distinct numbers above 0", distinct)
        require(self, "held_out", "in (0, 1)", 0 < self.held_out < 1)
        require(self, "momentum", "in [0, 1)", 0 <= self.momentum < 1)
        require(self, "trust", "> 0", self.trust > 0)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the paper's values; an encoder made elsewhere has no published rate, so 16."""
        return cls() if origin in OWN else cls(lr_factors=FACTORS)

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores."""
        return dataclasses.replace(
            cls(),
            image_size=64,
            epochs=4,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=30.0,
            crop_scale_min=0.35,
        )

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return 50 epochs above ViT-B, which the reference code's FINETUNE.md finds sufficient."""
        base = cls.published(arch, origin)
        return dataclasses.replace(base, epochs=50) if arch in PAPER_ARCHS[1:] else base

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the forward passes of all epochs and the test; the layers are added to them."""
        images = self.epochs * data["images"]
        layers = len(self.lr_factors) * data["classes"] * arch.width
        forward = forward_flops(
            images + data["val_images"], encoder_multiply_adds(arch, self.image_size)
        )
        return Work(
            flops=forward + training_flops(images, layers),
            trained=layers,
            frozen=encoder_parameters(arch, self.image_size),
            left_bytes=100.0 * data["val_images"],
        )

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracy of the last epoch's weights."""
        from transfer.linear_probe import linear_probe

        return linear_probe(self, ctx)
