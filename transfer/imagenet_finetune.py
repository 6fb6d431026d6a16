"""End-to-end fine-tuning on ImageNet classification: the recipe; see classification.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ARCHS, PAPER_ORIGINS, Arch
from mae_bench.kit.epochs import check_epoch_fields
from mae_bench.kit.work import (
    FLOAT_BYTES,
    MAE_AUTHORS,
    Cost,
    Work,
    encoder_multiply_adds,
    encoder_parameters,
    forward_flops,
    training_flops,
)

SMALL = {"vit_tiny_patch16": 0.85, "vit_small_patch16": 0.75}
"""Sizes of MAE-Lite and their layer decay."""
LARGE = ("vit_large_patch16", "vit_huge_patch14")
PREDICTION_BYTES = 100
"""Of one image in predictions.parquet, roughly."""


@dataclass(frozen=True, kw_only=True)
class ImagenetFinetune:
    """Fine-tuning with layer-wise decay, He et al. 2021 (arXiv 2111.06377), Table 9.

    Defaults are ViT-B's values for weights pretrained on normalised pixels, as released with the
    reference code; they differ from the table in learning rate, layer decay and erasing. ViT-Ti and
    ViT-S have those of MAE-Lite (Wang et al. 2023, arXiv 2205.14443, and its released code).
    """

    name: ClassVar[str] = "imagenet_finetune"
    version: ClassVar[int] = 2
    dataset: ClassVar[str] = "imagenet"
    after: ClassVar[str] = ""
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("top1", "fine-tune top-1", per_image="correct", protocol="imagenet-finetune"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(gpus=32, hours=10.0, demo_seconds=52.0)
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = (*SMALL, *PAPER_ARCHS)
    published_costs: ClassVar[tuple[Cost, ...]] = tuple(
        Cost(
            arch,
            hours=minutes / 60,
            gpus=gpus,
            device="V100",
            of=MAE_AUTHORS,
            source=f"{minutes // 60} h {minutes % 60} min on {gpus} V100 for {arch} "
            "(facebookresearch/mae, FINETUNE.md)",
        )
        for arch, minutes, gpus in zip(PAPER_ARCHS, (431, 532, 789), (32, 32, 64), strict=True)
    )

    image_size: int = 224
    """Side of the images in pixels; positions are resized if the encoder's differ."""
    epochs: int = 100
    """Passes over the training images."""
    warmup_epochs: int = 5
    """Epochs of linear warm-up from a learning rate of exactly 0."""
    batch_size: int = 1024
    """Images per optimiser step over all devices and accumulation steps."""
    lr_per_256: float = 5e-4
    """Base learning rate; multiplied by batch_size / 256."""
    min_lr: float = 1e-6
    """Learning rate at the end of the half-cosine."""
    layer_decay: float = 0.65
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    weight_decay: float = 0.05
    """AdamW weight decay of matrices; biases, norms, positions and cls token have none."""
    drop_path: float = 0.1
    """Stochastic depth of the last block, rising linearly from 0 at the first."""
    rand_augment: str = "rand-m9-mstd0.5-inc1"
    """timm's RandAugment string; empty for none."""
    erasing: float = 0.25
    """Probability of erasing a rectangle with noise."""
    label_smoothing: float = 0.1
    """Probability mass spread over all classes."""
    mixup: float = 0.8
    """Alpha of mixup's beta distribution; 0 for none."""
    cutmix: float = 1.0
    """Alpha of cutmix's beta distribution; 0 for none."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 1", self.image_size >= 1)
        check_epoch_fields(self)
        require(self, "layer_decay", "in (0, 1]", 0 < self.layer_decay <= 1)
        require(self, "weight_decay", ">= 0", self.weight_decay >= 0)
        require(self, "drop_path", "in [0, 1)", 0 <= self.drop_path < 1)
        require(self, "erasing", "in [0, 1]", 0 <= self.erasing <= 1)
        require(self, "label_smoothing", "in [0, 1)", 0 <= self.label_smoothing < 1)
        require(self, "mixup", ">= 0", self.mixup >= 0)
        require(self, "cutmix", ">= 0", self.cutmix >= 0)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return the reference code's values for ViT-B, L, H and MAE-Lite's for Ti and S.

        Other sizes take B's.
        """
        if arch in SMALL:
            return dataclasses.replace(
                cls(),
                epochs=300,
                lr_per_256=1e-3,
                layer_decay=SMALL[arch],
                drop_path=0.0,
                rand_augment="rand-m10-mstd0.5-inc1",
                erasing=0.0,
                label_smoothing=0.0,
                mixup=0.2,
                cutmix=0.0,
            )
        if arch not in LARGE:
            return cls()
        drop_path = 0.2 if arch == "vit_large_patch16" else 0.3
        return dataclasses.replace(
            cls(), epochs=50, lr_per_256=1e-3, layer_decay=0.75, drop_path=drop_path
        )

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores; the regularisation is cut with the schedule."""
        return dataclasses.replace(
            cls(),
            image_size=64,
            epochs=4,
            warmup_epochs=1,
            batch_size=64,
            lr_per_256=8e-3,
            layer_decay=0.75,
            drop_path=0.0,
            rand_augment="",
            erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            crop_scale_min=0.35,
        )

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all epochs and of the test."""
        image = encoder_multiply_adds(arch, self.image_size)
        parameters = encoder_parameters(arch, self.image_size) + data["classes"] * arch.width
        return Work(
            flops=training_flops(self.epochs * data["images"], image)
            + forward_flops(data["val_images"], image),
            trained=parameters,
            left_bytes=float(FLOAT_BYTES * parameters + PREDICTION_BYTES * data["val_images"]),
        )

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracy of the last epoch's weights."""
        from transfer.classification import finetune

        return finetune(self, ctx)
