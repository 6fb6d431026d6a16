"""The colours of two views: jitter, grey, blur and solarisation, on the device that trains."""

from dataclasses import dataclass

import torch
import torchvision.transforms.v2.functional as v2
from jaxtyping import Float, UInt8
from torch import Tensor

DRAWS = 10
"""Uniform numbers that decide the colours of one image."""
ORDERS = torch.cartesian_prod(*[torch.arange(4)] * 4)
ORDERS = ORDERS[(ORDERS.sort(1).values == torch.arange(4)).all(1)]


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


def recolour(
    images: UInt8[Tensor, "batch 3 side side"], draws: Float[Tensor, "batch draws"], by: Colours
) -> UInt8[Tensor, "batch 3 side side"]:
    """Return the images as their draws decide."""
    rows = zip(images, draws.tolist(), strict=True)
    return torch.stack([_one(image, row, by) for image, row in rows])


def _one(image: Tensor, draws: list[float], by: Colours) -> Tensor:
    if draws[0] < by.jitter_probability:
        b, c, s, h = (x * (2 * d - 1) for x, d in zip(by.jitter, draws[1:5], strict=True))
        steps = (
            lambda x: v2.adjust_brightness(x, max(0.0, 1 + b)),
            lambda x: v2.adjust_contrast(x, max(0.0, 1 + c)),
            lambda x: v2.adjust_saturation(x, max(0.0, 1 + s)),
            lambda x: v2.adjust_hue(x, h),
        )
        for index in ORDERS[int(draws[5] * 24)].tolist():
            image = steps[index](image)
    if draws[6] < by.grey_probability:
        image = v2.rgb_to_grayscale(image, 3)
    if draws[7] < by.blur_probability:
        low, high = by.blur_sigma
        sigma = (low + (high - low) * draws[8]) * image.shape[-1] / 224
        size = 2 * max(1, round(3 * sigma)) + 1
        image = v2.gaussian_blur(image, [size, size], [sigma, sigma])
    if draws[9] < by.solarize_probability:
        image = v2.solarize(image, 128)
    return image
