"""The colours of two views: jitter, grey, blur and solarisation, on the device that trains.

A batch changes at once, each image by factors of its own; torchvision's functions take one a call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from mae_bench.kit.blur import blur

DRAWS = 10
"""Uniform numbers that decide the colours of one image."""
LUMA = (19595, 38470, 7471)
"""Shares of red, green and blue in grey (ITU-R 601), of 65536, as Pillow has them."""
BRIGHTNESS, CONTRAST, SATURATION, HUE, NOTHING = range(5)
IN_CACHE, ON_GPU = 2**20, 2**25
"""Pixel values that are changed at a time: more would leave a core's cache, or fill a GPU."""

Images = UInt8[Tensor, "batch 3 side side"]
Numbers = Float[Tensor, " batch"]


def _around_hue(order: tuple[int, ...]) -> tuple[int, ...]:
    """Return three changes before hue and three after it, filled up with nothing."""
    at = order.index(HUE)
    blank = (NOTHING,) * 3
    return ((*order[:at], *blank)[:3]) + ((*order[at + 1 :], *blank)[:3])


ORDERS = torch.tensor([_around_hue(order) for order in permutations(range(4))])
"""The 24 orders of jitter's four changes; hue, the dearest, is always between third and fourth."""


@dataclass(frozen=True)
class Colours:
    """How a view changes colours, in this order; probabilities in [0, 1]."""

    jitter: tuple[float, float, float, float]
    """Greatest change of brightness, contrast, saturation (factors 1 +- x) and hue (turns +- x)."""
    jitter_probability: float
    grey_probability: float
    blur_probability: float
    solarize_probability: float
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Range of the blur's deviation in pixels of a 224-pixel image."""


def recolour(images: Images, draws: Float[Tensor, "batch draws"], by: Colours) -> Images:
    """Return the images as their draws decide, each by its own alone, to the bit.

    Jitter is torchvision's ColorJitter, in an order drawn for each image. A GPU is never waited
    for, wherever the draws lie.
    """
    draws = draws.to(images.device, non_blocking=True)
    number = max(1, (ON_GPU if images.is_cuda else IN_CACHE) // images[0].numel())
    parts = zip(images.split(number), draws.split(number), strict=True)
    return torch.cat([_recolour(part, rows, by) for part, rows in parts])


def _recolour(images: Images, draws: Float[Tensor, "batch draws"], by: Colours) -> Images:
    if by.jitter_probability > 0:
        images = _jitter(images, draws, by)
    if by.grey_probability > 0:
        images = _change(images, draws[:, 6] < by.grey_probability, _to_grey)
    if by.blur_probability > 0:
        low, high = by.blur_sigma
        sigmas = (draws[:, 8] * (high - low) + low) * (images.shape[-1] / 224)
        images = _change(images, draws[:, 7] < by.blur_probability, blur, sigmas)
    if by.solarize_probability > 0:
        images = _change(images, draws[:, 9] < by.solarize_probability, _solarize)
    return images


def _change(
    images: Images, chosen: Bool[Tensor, " batch"], how: Callable[..., Images], *factors: Tensor
) -> Images:
    """Return the images, those chosen changed by their factors."""
    if images.is_cuda:  # to find the rows would wait for the GPU
        return torch.where(chosen[:, None, None, None], how(images, *factors), images)
    rows = chosen.nonzero()[:, 0]
    if len(rows) == len(images):
        return how(images, *factors)
    return images.index_copy(0, rows, how(images[rows], *(factor[rows] for factor in factors)))


def _jitter(images: Images, draws: Float[Tensor, "batch draws"], by: Colours) -> Images:
    """Return the images with brightness, contrast, saturation and hue changed in drawn orders."""
    chosen = draws[:, 0] < by.jitter_probability
    spans = [(max(0.0, 1 - most), 1 + most) for most in by.jitter[:HUE]]
    drawn = [draws[:, 1 + i] * (high - low) + low for i, (low, high) in enumerate(spans)]
    turns = (draws[:, 1 + HUE] * 2 - 1) * by.jitter[HUE]
    kinds = ORDERS.to(images.device, non_blocking=True)[(draws[:, 5] * len(ORDERS)).long()]
    factors = torch.stack([*drawn, turns, turns], dim=1).gather(1, kinds)
    for at, (kind, factor) in enumerate(zip(kinds.unbind(1), factors.unbind(1), strict=True)):
        if at == kinds.shape[1] // 2:
            images = _change(images, chosen, _turn_hue, turns)
        images = _change(images, chosen & (kind != NOTHING), _blend, kind, factor)
    return images


def _blend(images: Images, kind: Int[Tensor, " batch"], factor: Numbers) -> Images:
    """Return factor x image + (1 - factor) x another: black, the mean grey, the image in grey.

    Halves are cut off, as torchvision and Pillow do.
    """
    other = _grey(images)
    means = other.mean((2, 3), dtype=torch.float64, keepdim=True).float()
    other.mul_(((1 - factor) * (kind == SATURATION))[:, None, None, None])
    other.add_(means * ((1 - factor) * (kind == CONTRAST))[:, None, None, None])
    return (images * factor[:, None, None, None]).add_(other).clamp_(0, 255).to(torch.uint8)


def _turn_hue(images: Images, turns: Numbers) -> Images:
    """Return the images with the hue of HSV turned, its value and saturation as they were."""
    red, green, blue = images.float().unbind(1)
    high = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = high - low
    # A product with 0 or 1 takes half the time of a choice on a CPU.
    hue = (red - green + 4 * chroma).lerp_(blue - red + 2 * chroma, (high == green).float())
    hue = hue.lerp_(green - blue, (high == red).float()).div_(chroma.clamp(min=1))
    hue = hue.add_(6 * turns[:, None, None])
    hue = hue.sub_((hue / 6).floor_().mul_(6))
    shares = [(hue - 3).abs_().sub_(1), 2 - (hue - 2).abs_(), 2 - (hue - 4).abs_()]
    colours = torch.stack(shares, dim=1).clamp_(0, 1)
    return colours.mul_(chroma[:, None]).add_(low[:, None]).round_().to(torch.uint8)


def _to_grey(images: Images) -> Images:
    return _grey(images).to(torch.uint8).expand_as(images)


def _grey(images: Images) -> Float[Tensor, "batch 1 side side"]:
    """Return the grey levels, rounded to whole numbers; every sum is exact in single precision."""
    red, green, blue = images.split(1, dim=1)
    levels = (red * float(LUMA[0])).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return levels.add_(2**15).mul_(2**-16).floor_()


def _solarize(images: Images) -> Images:
    """Return the images with all levels from 128 on inverted."""
    return torch.minimum(images, 255 - images)
