"""Linear probing on ImageNet classification: the recipe; see linear_probe.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

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

MOCO_V3: dict[str, tuple[str, ...]] = {
    "moco_v3": PAPER_ARCHS[:2],
    "simclr": PAPER_ARCHS[:1],
    "byol": PAPER_ARCHS[:1],
}
"""Origins that MoCo v3's authors probed, and the sizes that they published a number for."""
TRUST = 0.001
FACTORS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0)


@dataclass(frozen=True, kw_only=True)
class ImagenetLinear:
    """A linear layer on the frozen encoder's cls token, He et al. 2021, A.1 and Table 10.

    The features pass the encoder's final norm and a BatchNorm without affine parameters; the layer
    is trained by LARS. Encoders of MoCo v3, SimCLR and BYOL have the probe that their published
    numbers are of (Chen et al. 2021, arXiv 2104.02057, and its released code): plain SGD on the
    features as they are. Each source has one learning rate for all sizes; for other encoders 16
    are tried in the same pass, and the best on held-out training images is taken.
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
    stated: ClassVar[tuple[str, ...]] = ("optimizer", "batch_norm")
    published_origins: ClassVar[tuple[str, ...]] = (*PAPER_ORIGINS, *MOCO_V3)
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
    """The optimiser's momentum, in [0, 1)."""
    trust: float = TRUST
    """LARS trust coefficient; SGD has none."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""
    optimizer: Literal["lars", "sgd"] = field(default="lars", metadata={"neutral": "lars"})
    """What trains the layer; neither decays weights."""
    batch_norm: bool = field(default=True, metadata={"neutral": True})
    """Whether the features pass a BatchNorm without affine parameters."""
    lr_changes: Literal["step", "epoch"] = field(default="step", metadata={"neutral": "step"})
    """Whether the learning rate is set before every step, or stays for an epoch."""
    crop_tries: Literal[1, 10] = field(default=1, metadata={"neutral": 1})
    """Crops drawn until one lies within the image: 10 as torchvision, or 1 that is cut to it."""

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
        fits = self.optimizer == "lars" or self.trust == TRUST
        require(self, "trust", f"left at {TRUST} unless optimizer is lars", fits)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the values of the paper that measured such encoders.

        Where none did no rate is published, so 16 are tried.
        """
        if origin in MOCO_V3:
            return cls(
                warmup_epochs=0,
                batch_size=1024,
                lr_per_256=3.0,
                optimizer="sgd",
                batch_norm=False,
                lr_changes="epoch",
                crop_tries=10,
            )
        return cls() if origin in PAPER_ORIGINS else cls(lr_factors=FACTORS)

    def caveat(self, arch: str, origin: str) -> str:
        """Return that the source has no number for such an encoder of that size, if it has none."""
        if origin not in MOCO_V3 or arch in MOCO_V3[origin] or arch not in self.published_archs:
            return ""
        return f"encoder {arch} of origin {origin}: no published number for it"

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
        """Return 50 epochs above ViT-B, which MAE's FINETUNE.md finds sufficient for its probe."""
        base = cls.published(arch, origin)
        shorter = arch in PAPER_ARCHS[1:] and origin not in MOCO_V3
        return dataclasses.replace(base, epochs=50) if shorter else base

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
