"""Classification from 1 % and 10 % of ImageNet's labels: the recipe; see lowshot.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from mae_bench.core.recipe import Context, Metric, Resources, require
from mae_bench.kit.archs import PAPER_ORIGINS, Arch
from mae_bench.kit.work import Work, encoder_multiply_adds, forward_flops
from transfer.imagenet_finetune import ImagenetFinetune

LARGE = ("vit_large_patch16", "vit_large_patch14", "vit_huge_patch14")


@dataclass(frozen=True, kw_only=True)
class ImagenetLowshot:
    """A linear layer, fine-tuning and self-training from 1 % and from 10 % of the labels.

    The labels are SimCLR's lists (Chen et al. 2020, arXiv 2002.05709) where 1percent.txt and
    10percent.txt lie in the data root, else that share of each class chosen by the seed.

    Linear: logistic regression on the frozen features as in MSN (Assran et al. 2022, arXiv
    2204.07141); its regularisation is chosen on a part of the labelled images. Fine-tuning: the
    values of Semi-ViT for MAE encoders (Cai et al. 2022, arXiv 2208.05688, and its released
    commands), ViT-B's by default. Self-training: the fine-tuned model labels the other images, and
    the encoder is fine-tuned again on both, once. Semi-ViT instead keeps an averaged teacher at
    work while it trains, so results note this as a deviation.

    Pairs of values are those for 1 % and for 10 %.
    """

    name: ClassVar[str] = "imagenet_lowshot"
    version: ClassVar[int] = 1
    dataset: ClassVar[str] = "imagenet"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("linear_1", "1 % linear top-1"),
        Metric("linear_10", "10 % linear top-1"),
        Metric("finetune_1", "1 % fine-tune top-1"),
        Metric("finetune_10", "10 % fine-tune top-1"),
        Metric("self_1", "1 % self-trained top-1"),
        Metric("self_10", "10 % self-trained top-1"),
    )
    apart: ClassVar[tuple[str, ...]] = ("image_size",)
    resources: ClassVar[Resources] = Resources(gpus=32, hours=24.0, demo_seconds=45.0)
    after: ClassVar[str] = ""
    published_origins: ClassVar[tuple[str, ...]] = PAPER_ORIGINS
    published_archs: ClassVar[tuple[str, ...]] = ("vit_base_patch16", "vit_large_patch16")
    """Of ViT-H the source fine-tunes the cls token and averages the weights, unlike this task."""

    image_size: int = 224
    """Side of the images in pixels; positions are resized if the encoder's differ."""
    strengths: tuple[float, ...] = (0.0025, 0.25, 0.025, 0.00025, 0.000025)
    """Regularisations tried for the linear layer, all above 0: each divided by the number of images
    and multiplied by half the squared length of the weights, added to the mean cross entropy. The
    first, MSN's, is taken where a class has too few labels to hold any out."""
    held_out: float = 0.2
    """Share of the labelled images of each class kept for choosing among them, in (0, 1)."""
    epochs: int = 100
    """Passes of fine-tuning over the labelled images."""
    self_epochs: int = 100
    """Passes of self-training over the labelled and newly labelled images together, as many as
    Semi-ViT's released commands take for their semi-supervised stage."""
    warmup_epochs: int = 5
    """Epochs of linear warm-up from a learning rate of exactly 0."""
    batch_size: int = 512
    """Images per optimiser step over all devices and accumulation steps."""
    lr_per_256: tuple[float, float] = (5e-5, 2.5e-4)
    """Base learning rates; multiplied by batch_size / 256. Self-training takes the second."""
    min_lr: float = 1e-6
    """Learning rate at the end of the half-cosine."""
    layer_decay: float = 0.65
    """Factor of the learning rate from one layer to the one below it, in (0, 1]."""
    weight_decay: float = 0.05
    """AdamW weight decay of matrices; biases, norms, positions and cls token have none."""
    drop_path: tuple[float, float] = (0.0, 0.1)
    """Stochastic depth of the last block. Self-training takes the second."""
    erasing: tuple[float, float] = (0.0, 0.25)
    """Probabilities of erasing a rectangle with noise. Self-training takes the second."""
    mixup: tuple[float, float] = (0.0, 0.8)
    """Alphas of mixup's beta distribution; 0 for none. Self-training takes the second."""
    cutmix: tuple[float, float] = (0.0, 1.0)
    """Alphas of cutmix's beta distribution; 0 for none. Self-training takes the second."""
    label_smoothing: float = 0.1
    """Probability mass spread over all classes."""
    rand_augment: str = "rand-m9-mstd0.5-inc1"
    """timm's RandAugment string; empty for none."""
    crop_scale_min: float = 0.08
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""
    confidence: tuple[float, float] = (0.6, 0.5)
    """Probability of the fine-tuned model's first class from which it becomes an image's label."""

    def __post_init__(self) -> None:
        require(self, "image_size", ">= 1", self.image_size >= 1)
        distinct = len(set(self.strengths)) == len(self.strengths) > 0
        distinct = distinct and min(self.strengths) > 0
        require(self, "strengths", "distinct numbers above 0", distinct)
        require(self, "held_out", "in (0, 1)", 0 < self.held_out < 1)
        fits = self.warmup_epochs < self.self_epochs
        require(self, "self_epochs", f"above warmup_epochs = {self.warmup_epochs}", fits)
        valid = all(0 <= value <= 1 for value in self.confidence)
        require(self, "confidence", "two numbers in [0, 1]", valid)
        for percent in (1, 10):
            self._check(percent)

    def _check(self, percent: int) -> None:
        """Raise ValueError naming this recipe's field where fine-tuning would refuse a value."""
        try:
            self.finetuning(percent)
        except ValueError as error:
            wrong = str(error).replace(f"{ImagenetFinetune.name}.", f"{self.name}.", 1)
            raise ValueError(f"{wrong} for {percent} %") from error

    def finetuning(self, percent: int) -> ImagenetFinetune:
        """Return how the encoder is fine-tuned on that share of the labels."""
        at = 0 if percent == 1 else 1
        pairs = ("lr_per_256", "drop_path", "erasing", "mixup", "cutmix")
        names = [field.name for field in dataclasses.fields(ImagenetFinetune)]
        values = {n: getattr(self, n)[at] if n in pairs else getattr(self, n) for n in names}
        return ImagenetFinetune(**values)

    def self_training(self) -> ImagenetFinetune:
        """Return how the encoder is fine-tuned on labelled and newly labelled images together."""
        return dataclasses.replace(self.finetuning(10), epochs=self.self_epochs)

    @classmethod
    def published(cls, arch: str, origin: str) -> Self:
        """Return Semi-ViT's values for ViT-B and L; ViT-H takes L's, smaller sizes B's."""
        if arch not in LARGE:
            return cls()
        return cls(
            epochs=50,
            lr_per_256=(1e-3, 1e-3),
            layer_decay=0.75,
            confidence=(0.6, 0.6),
        )

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores; the regularisation is cut with the schedule."""
        return cls(
            image_size=64,
            epochs=8,
            self_epochs=5,
            warmup_epochs=1,
            batch_size=16,
            lr_per_256=(3e-2, 3e-2),
            layer_decay=0.75,
            drop_path=(0.0, 0.0),
            erasing=(0.0, 0.0),
            mixup=(0.0, 0.0),
            cutmix=(0.0, 0.0),
            rand_augment="",
            crop_scale_min=0.35,
            confidence=(0.5, 0.5),
        )

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all six parts, as if every image were labelled for self-training."""
        share = {1: 0.01, 10: 0.1}
        tuned = [
            self.finetuning(percent).work(arch, {**data, "images": round(part * data["images"])})
            for percent, part in share.items()
        ]
        again = self.self_training().work(arch, data)
        image = encoder_multiply_adds(arch, self.image_size)
        seen = 2 * (data["images"] + data["val_images"]) + sum(share.values()) * data["images"]
        return Work(
            flops=sum(one.flops for one in tuned) + 2 * again.flops + forward_flops(seen, image),
            trained=again.trained,
            left_bytes=4 * again.left_bytes + 3 * again.checkpoint_bytes,
        )

    def run(self, ctx: Context) -> dict[str, float]:
        """Return the top-1 accuracies of the three methods from 1 % and 10 % of the labels."""
        from transfer.lowshot import low_shot

        return low_shot(self, ctx)
