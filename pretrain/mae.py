"""Masked autoencoders (He et al. 2021): the recipe; the model is in mae_model.py."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Metric, Resources, require
from mae_bench.kit.archs import ARCHS, PAPER_ARCHS, Arch
from mae_bench.kit.work import (
    FLOAT_BYTES,
    MAE_AUTHORS,
    Cost,
    Work,
    blocks_multiply_adds,
    blocks_parameters,
    encoder_parameters,
)
from pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    from pretrain.mae_model import MAEObjective


@dataclass(frozen=True, kw_only=True)
class MAE(PretrainRecipe):
    """Masked autoencoder pretraining, He et al. 2021 (arXiv 2111.06377), Table 8 and A.1.

    Defaults are the 1600-epoch schedule of the published rows, with normalised pixel targets.
    """

    name: ClassVar[str] = "mae"
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "masked-patch MSE", unit="", higher_is_better=False, digits=4),
    )
    resources: ClassVar[Resources] = Resources(gpus=64, hours=84.0, demo_seconds=260.0)
    published_origins: ClassVar[tuple[str, ...]] = ()
    published_archs: ClassVar[tuple[str, ...]] = PAPER_ARCHS
    published_costs: ClassVar[tuple[Cost, ...]] = (
        Cost(
            "vit_large_patch16",
            hours=42.0,
            gpus=64,
            device="V100",
            of=MAE_AUTHORS,
            source="42 h on 64 V100 for 800 epochs of ViT-L (facebookresearch/mae, PRETRAIN.md)",
            fields={"epochs": 800},
        ),
    )

    epochs: int = 1600
    warmup_epochs: int = 40
    lr_per_256: float = 1.5e-4
    weight_decay: float = 0.05
    mask_ratio: float = 0.75
    """Share of the patches hidden from the encoder, in (0, 1)."""
    norm_pix: bool = True
    """Whether the target is each patch's pixels normalised by their own mean and deviation."""
    decoder_width: int = 512
    """Width of the decoder's blocks."""
    decoder_depth: int = 8
    """Number of the decoder's blocks."""
    decoder_heads: int = 16
    """Attention heads of a decoder block."""
    crop_scale_min: float = 0.2
    """Smallest share of the image's area that a random crop takes, in (0, 1]."""
    mask_sampling: Literal["random", "block", "grid"] = field(
        default="random", metadata={"neutral": "random"}
    )
    """Which patches are hidden: any, blocks of them, or all but a regular grid (Table 1f)."""
    encode_mask_tokens: bool = field(default=False, metadata={"neutral": False})
    """Whether the encoder sees mask tokens for the hidden patches: slow and worse (Table 1c)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "mask_ratio", "in (0, 1)", 0 < self.mask_ratio < 1)
        require(
            self,
            "decoder_width",
            "a positive multiple of 4",
            self.decoder_width > 0 and self.decoder_width % 4 == 0,
        )
        divides = self.decoder_heads > 0 and self.decoder_width % self.decoder_heads == 0
        require(self, "decoder_heads", f"a divisor of {self.decoder_width}", divides)
        require(self, "decoder_depth", ">= 1", self.decoder_depth >= 1)
        require(self, "crop_scale_min", "in (0, 1]", 0 < self.crop_scale_min <= 1)
        grid = self.image_size // ARCHS[self.arch].patch_size
        fits = self.mask_sampling != "grid" or (self.mask_ratio == 0.75 and grid % 2 == 0)
        allowed = "random or block unless mask_ratio is 0.75 and the patches a side are even"
        require(self, "mask_sampling", allowed, fits)

    @property
    def method(self) -> str:
        """The ledger's word for such an encoder, where it tells more than the recipe's name."""
        return "" if self.norm_pix else "mae,_unnormalised_pixels"

    @classmethod
    def demo(cls) -> Self:
        """Return the size for two CPU cores: a 4-block ViT on 64-pixel images."""
        return dataclasses.replace(
            cls(),
            arch="vit_demo_patch8",
            image_size=64,
            epochs=36,
            warmup_epochs=3,
            batch_size=64,
            lr_per_256=6e-3,
            decoder_width=64,
            decoder_depth=2,
            decoder_heads=4,
        )

    @classmethod
    def lite(cls, arch: str, origin: str) -> Self:
        """Return a published shorter schedule: 300 epochs for ViT-B, 800 for larger ones.

        ViT-B: mmpretrain's 300-epoch model (83.1 fine-tuned, 83.5 after 1600). ViT-L: the paper's
        ablations (85.4 after 800, Table 1d); ViT-H, which has no published short row, takes L's.
        """
        epochs = 800 if arch in PAPER_ARCHS[1:] else 300
        return dataclasses.replace(cls.published(arch, origin), epochs=epochs)

    @property
    def training_flops(self) -> int:
        """The FLOPs of forward and backward pass for one image, a multiply-add being two.

        As the field counts them: every patch is embedded and predicted, though here only those
        needed are; backward costs twice the forward, except that images have no gradient.
        """
        arch = ARCHS[self.arch]
        patches, pixels = (self.image_size // arch.patch_size) ** 2, arch.patch_size**2 * 3
        visible = int(patches * (1 - self.mask_ratio))
        encoded = 1 + (patches if self.encode_mask_tokens else visible)
        embedding = patches * pixels * arch.width
        forward = (
            embedding
            + blocks_multiply_adds(encoded, arch.width, arch.depth)
            + encoded * arch.width * self.decoder_width
            + blocks_multiply_adds(1 + patches, self.decoder_width, self.decoder_depth)
            + patches * self.decoder_width * pixels
        )
        return 6 * forward - 2 * embedding

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return the work of all epochs and of the loss on the validation images."""
        encoder = encoder_parameters(arch, self.image_size)
        width, pixels = self.decoder_width, arch.patch_size**2 * 3
        decoder = blocks_parameters(width, self.decoder_depth) + width * (arch.width + pixels)
        images = self.epochs * data["images"] + data["val_images"] / 3
        return Work(
            flops=float(images * self.training_flops),
            trained=encoder + decoder,
            left_bytes=FLOAT_BYTES * (2.0 * encoder + decoder),
        )

    def objective(self, data: Path) -> "MAEObjective":
        """Return the autoencoder, freshly initialised."""
        from pretrain.mae_model import MAEObjective

        return MAEObjective(self)
