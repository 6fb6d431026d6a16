"""The named Vision Transformer sizes; loads without torch, so that recipes can check fields."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """Shape of a plain ViT with MLP ratio 4, qkv bias and LayerNorm eps 1e-6."""

    width: int
    depth: int
    heads: int
    patch_size: int


ARCHS: dict[str, Arch] = {
    # Touvron et al. 2021 (DeiT), Table 1.
    "vit_tiny_patch16": Arch(192, 12, 3, 16),
    "vit_small_patch16": Arch(384, 12, 6, 16),
    # Dosovitskiy et al. 2021, Table 1; MAE's huge model has patch 14.
    "vit_base_patch16": Arch(768, 12, 12, 16),
    "vit_large_patch16": Arch(1024, 24, 16, 16),
    "vit_huge_patch14": Arch(1280, 32, 16, 14),
    # The same with other patches: DINO (Caron et al. 2021) has 8, DINOv2 (Oquab et al. 2023) 14.
    "vit_small_patch8": Arch(384, 12, 6, 8),
    "vit_base_patch8": Arch(768, 12, 12, 8),
    "vit_small_patch14": Arch(384, 12, 6, 14),
    "vit_base_patch14": Arch(768, 12, 12, 14),
    "vit_large_patch14": Arch(1024, 24, 16, 14),
    "vit_base_patch32": Arch(768, 12, 12, 32),
    # Ours: the demo on two CPU cores, and the tests.
    "vit_demo_patch8": Arch(128, 4, 4, 8),
    "vit_smoke_patch8": Arch(32, 4, 2, 8),
}
"""timm's names without the image size, which is a field of its own."""

PAPER_ORIGINS = ("mae", "supervised", "random_init")
"""How the encoders were made that He et al. 2021 transfer and this project makes."""
PAPER_ARCHS = ("vit_base_patch16", "vit_large_patch16", "vit_huge_patch14")
"""The sizes of He et al. 2021."""
