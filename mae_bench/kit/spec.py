"""The shape and origin of an encoder, as written into its file; loads without torch."""

from dataclasses import dataclass
from typing import Literal

from mae_bench.kit.archs import ARCHS

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """All that is needed to rebuild an encoder and to feed it."""

    arch: str
    image_size: int
    """Side of the square input in pixels that the position embedding was made for."""
    patch_size: int
    width: int
    depth: int
    heads: int
    pool: Literal["cls", "avg"] = "cls"
    """How its own training summed up an image, and frozen-feature tasks do: by the cls token, or by
    the mean of the patches."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    origin: str = "mae"
    """The recipe that made it, or 'foreign'; tasks take per-origin values from it."""
    class_token: bool = True
    """Whether a cls token stands before the patches; its position is row 0 of the embedding."""
    num_registers: int = 0
    """Learned tokens between the cls token and the patches, without positions (DINOv2)."""
    layer_scale: bool = False
    """Whether each branch of a block is multiplied by a learned vector (CaiT, BEiT, DINOv2)."""
    qkv_bias: bool = True
    absolute_positions: bool = True
    """Whether `pos_embed` is added to the tokens."""
    relative_positions: bool = False
    """Whether each block's attention adds a bias for the offset of two patches (BEiT)."""
    final_norm: bool = True
    """Whether a norm follows the last block; detectron2's ViT has none."""
    norm_eps: float = 1e-6
    """Epsilon of every LayerNorm."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"EncoderSpec.image_size must be a multiple of patch_size {self.patch_size}, "
                f"got {self.image_size}"
            )
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(
                f"EncoderSpec.heads must divide the width {self.width}, got {self.heads}"
            )
        if not (all(0 <= m <= 1 for m in self.mean) and all(0 < s <= 1 for s in self.std)):
            raise ValueError(
                f"EncoderSpec.mean and std are of pixel values in [0, 1], got {self.mean} and "
                f"{self.std}; divide values of [0, 255] by 255"
            )
        if self.relative_positions and not (self.class_token and self.num_registers == 0):
            raise ValueError("relative positions need a cls token and no registers, as in BEiT")

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches: cls and registers."""
        return int(self.class_token) + self.num_registers

    @property
    def pixels(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and deviation that images are normalised with, of values in [0, 1]."""
        return self.mean, self.std


def named_spec(arch: str, image_size: int, origin: str) -> EncoderSpec:
    """Return the spec of a named size at that image size."""
    shape = ARCHS[arch]
    return EncoderSpec(
        arch=arch,
        image_size=image_size,
        patch_size=shape.patch_size,
        width=shape.width,
        depth=shape.depth,
        heads=shape.heads,
        origin=origin,
    )
