"""What a detector or segmenter computes for one image: encoder, pyramid and heads, roughly.

Convolutions and products are counted, norms, resizing and the sorting of boxes are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from mae_bench.kit.archs import Arch
from mae_bench.kit.work import blocks_multiply_adds

SCALES = (4.0, 2.0, 1.0, 0.5)
"""Pyramid levels relative to the patch grid."""
NUM_GLOBAL = 4
"""Blocks of a detector's ViT with attention over the whole image."""
ROI_SIDE, MASK_SIDE = 7, 14
POSITIVE = 0.25
"""Share of the sampled proposals that have a mask loss."""


@dataclass(frozen=True)
class Head:
    """The shape of R-CNN's parts that cost anything."""

    width: int
    box_convs: int
    box_width: int
    mask_convs: int
    """-1 without a mask head."""

    def multiply_adds(self, boxes: float, masks: float) -> float:
        """Return those of so many boxes and masks."""
        conv = conv_weights(self.width, self.width)
        box = ROI_SIDE**2 * (self.box_convs * conv + self.width * self.box_width)
        mask = MASK_SIDE**2 * (self.mask_convs + 1) * conv
        return boxes * box + masks * mask

    @property
    def parameters(self) -> float:
        """The number of weights, those of pyramid and region proposals included."""
        conv = conv_weights(self.width, self.width)
        layers = len(SCALES) + 2 + self.box_convs + self.mask_convs + 1
        return layers * conv + ROI_SIDE**2 * self.width * self.box_width


def toolbox_arch(arch: Arch) -> Arch:
    """Return the encoder as detectors and segmenters hold it: patch 14 becomes 16."""
    return replace(arch, patch_size=16) if arch.patch_size == 14 else arch


def conv_weights(inputs: int, outputs: int) -> int:
    """Return the weights of a 3x3 convolution."""
    return 9 * inputs * outputs


def windowed_multiply_adds(arch: Arch, image_size: int, window: int) -> float:
    """Return the encoder's: all but four blocks attend within windows of that side, 0 for none."""
    grid = ceil(image_size / arch.patch_size)
    tokens = grid**2
    num_local = max(0, arch.depth - NUM_GLOBAL) if window else 0
    padded = (ceil(grid / window) * window) ** 2 if window else tokens
    local = 12 * padded * arch.width**2 + 2 * padded * window**2 * arch.width
    embedding = tokens * 3 * arch.patch_size**2 * arch.width
    whole = blocks_multiply_adds(tokens, arch.width, arch.depth - num_local)
    return float(embedding + num_local * local + whole)


def pyramid_multiply_adds(grid: int, scales: Sequence[float], width: int) -> float:
    """Return those of a pyramid's output convolutions and of two more for region proposals."""
    pixels = sum((grid * scale) ** 2 for scale in scales)
    return 3 * pixels * conv_weights(width, width)


def upernet_multiply_adds(grid: int, encoder_width: int, width: int) -> float:
    """Return those of UPerHead: pooling, lateral, pyramid and fusing convolutions."""
    conv = conv_weights(width, width)
    pooled = (grid * SCALES[-1]) ** 2 * (conv_weights(encoder_width, width) + 4 * conv)
    pixels = sum((grid * scale) ** 2 for scale in SCALES[:-1])
    lateral = pixels * encoder_width * width
    return pooled + lateral + pixels * conv + (grid * SCALES[0]) ** 2 * 4 * conv


def upernet_parameters(encoder_width: int, width: int, auxiliary_width: int) -> int:
    """Return the number of UPerHead's weights and the auxiliary head's."""
    conv = conv_weights(width, width)
    pooled = conv_weights(encoder_width, width) + 4 * conv + 4 * encoder_width * width
    return (
        pooled
        + 3 * (conv + encoder_width * width)
        + 4 * conv
        + conv_weights(encoder_width, auxiliary_width)
    )
