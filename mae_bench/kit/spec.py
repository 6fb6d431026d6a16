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
    """How its own pretraining summed up an image, for information."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    origin: str = "mae"
    """The recipe that made it, or 'foreign'; tasks take per-origin values from it."""

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"EncoderSpec.image_size must be a multiple of patch_size {self.patch_size}, "
                f"got {self.image_size}"
            )

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size


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
