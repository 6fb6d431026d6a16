"""Masked autoencoders (He et al. 2021): the recipe; the model is in mae_model.py."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from mae_bench.core.recipe import Metric, Resources, require
from mae_bench.kit.archs import ARCHS, PAPER_ARCHS
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

    def objective(self, data: Path) -> "MAEObjective":
        """Return the autoencoder, freshly initialised."""
        from pretrain.mae_model import MAEObjective

        return MAEObjective(self)
