"""What a job computes and keeps, counted from its recipe's fields; loads without torch."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from mae_bench.kit.archs import Arch

MOMENTS = 2
"""Of AdamW; LARS has one, so its checkpoints are taken for a little larger than they are."""
FLOAT_BYTES = 4
Count = int | float


@dataclass(frozen=True)
class Work:
    """What one job computes and keeps; a multiply-add is two floating-point operations."""

    flops: Count
    """Floating-point operations of training and of the measurement at its end."""
    trained: int = 0
    """Parameters that are trained: a checkpoint holds each with its two moments."""
    frozen: int = 0
    """Further numbers in a checkpoint: parameters that are not trained, averages of weights."""
    left_bytes: Count = 0
    """Bytes of the files that stay beside the checkpoints: weights, predictions, features."""

    @property
    def checkpoint_bytes(self) -> float:
        """Return the bytes of one checkpoint, 0 where nothing is trained."""
        if not self.trained:
            return 0.0
        return float(FLOAT_BYTES * (self.trained * (1 + MOMENTS) + self.frozen))


MAE_AUTHORS = ("He et al. 2021, arXiv 2111.06377", "facebookresearch/mae")
"""The MAE paper and its code, as the ledger of published numbers calls them."""


@dataclass(frozen=True)
class Cost:
    """What somebody published about the time that a recipe took."""

    arch: str
    hours: float
    gpus: int
    device: str
    source: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What differed from the recipe's published values."""
    of: tuple[str, ...] = ()
    """Sources, as the ledger of published numbers calls them, whose numbers took that long."""
    origin: str = "mae"
    """Of the encoders that took that long."""


@runtime_checkable
class Countable(Protocol):
    """A recipe that knows what it computes; others have the hours of their resources alone."""

    def work(self, arch: Arch, data: Mapping[str, int]) -> Work:
        """Return its work for an encoder of that shape on data of those counts."""
        ...


def blocks_multiply_adds(tokens: int, width: int, depth: int) -> int:
    """Return the multiply-adds of transformer blocks with MLP ratio 4, norms left out."""
    return depth * (12 * tokens * width**2 + 2 * tokens**2 * width)


def encoder_multiply_adds(arch: Arch, image_size: int) -> int:
    """Return the multiply-adds of the encoder for one image of that side."""
    patches = (image_size // arch.patch_size) ** 2
    embedding = patches * 3 * arch.patch_size**2 * arch.width
    return embedding + blocks_multiply_adds(1 + patches, arch.width, arch.depth)


def encoder_parameters(arch: Arch, image_size: int) -> int:
    """Return the number of the encoder's parameters, positions included."""
    width = arch.width
    patches = (image_size // arch.patch_size) ** 2
    embedding = (3 * arch.patch_size**2 + 1) * width + (patches + 2) * width
    return embedding + blocks_parameters(width, arch.depth) + 2 * width


def blocks_parameters(width: int, depth: int) -> int:
    """Return the number of parameters of transformer blocks with MLP ratio 4."""
    return depth * (12 * width**2 + 13 * width)


def mlp_parameters(sizes: tuple[int, ...]) -> int:
    """Return the weights of linear layers from size to size: parameters, and multiply-adds too."""
    return sum(width * out for width, out in itertools.pairwise(sizes))


def forward_flops(images: Count, multiply_adds: Count) -> float:
    """Return the FLOPs of one forward pass over the images."""
    return 2.0 * images * multiply_adds


def training_flops(images: Count, multiply_adds: Count) -> float:
    """Return the FLOPs of forward and backward passes, which cost twice the forward ones."""
    return 3.0 * forward_flops(images, multiply_adds)
