"""Linear probing on ImageNet classification: the recipe; see classification.py."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.epochs import check_epoch_fields


@dataclass(frozen=True, kw_only=True)
class ImagenetLinear:
    """A linear layer on the frozen encoder's cls token, He et al. 2021, A.1 and Table 10.

    The features pass the encoder's final norm and a BatchNorm without affine parameters; the layer
    is trained by LARS. One learning rate for all sizes.
    """

    name: ClassVar[str] = "imagenet_linear"
    version: ClassVar[int] = 2
    dataset: ClassVar[str] = "imagenet"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("top1", "linear top-1"),)
    resources: ClassVar[Resources] = Resources(gpus=8, hours=12.0, demo_seconds=25.0)

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
        require(self, "momentum", "in [0, 1)", 0 <= self.momentum < 1)
        require(self, "trust", "> 0", self.trust > 0)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the paper's values, which are the same for every encoder."""
        return cls()

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

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracy of the last epoch's weights."""
        from transfer.classification import linear_probe

        return linear_probe(self, ctx)
