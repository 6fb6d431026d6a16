"""Gaussian blur of a batch, each image by a deviation of its own.

Each direction is one product with a band of weights an image, in half the time of a convolution.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

REACH = 11
"""Reach of the weights in pixels of a 224-pixel image: BYOL's kernel of 23."""
WHOLE, EIGHTHS = 2048, 8
"""Weights are whole shares of this, and between the two directions grey levels are rounded to
eighths: all sums are exact at TF32's precision, so that no device or batch changes a pixel."""


def blur(
    images: UInt8[Tensor, "batch 3 side side"], sigmas: Float[Tensor, " batch"]
) -> UInt8[Tensor, "batch 3 side side"]:
    """Return the images blurred by deviations in pixels, mirrored at the borders.

    Within one grey level of torchvision's gaussian_blur with a kernel of 23 at 224 pixels.
    """
    with torch.autocast(images.device.type, enabled=False):
        bands = _bands(sigmas, images.shape[-1])[:, None]
        rows = (bands @ images.float()).mul_(EIGHTHS / WHOLE).round_()
        return (rows @ bands.mT).mul_(1 / EIGHTHS / WHOLE).round_().to(torch.uint8)


def _bands(sigmas: Float[Tensor, " batch"], side: int) -> Float[Tensor, "batch side side"]:
    """Return what each pixel of a row takes from each other one, in 2048ths."""
    reach = min(side - 1, max(1, round(REACH * side / 224)))
    apart = torch.arange(-reach, reach + 1, device=sigmas.device)
    gaussian = torch.softmax(-0.5 * (apart / sigmas[:, None].double()) ** 2, dim=1)
    weights = (gaussian * WHOLE).round_()
    weights[:, reach] += WHOLE - weights.sum(1)
    taken = (torch.arange(side, device=sigmas.device)[:, None] + apart).abs_()
    taken = side - 1 - (side - 1 - taken).abs_()
    bands = weights.new_zeros(len(sigmas), side, side)
    shape = (len(sigmas), *taken.shape)
    return bands.scatter_add_(2, taken.expand(shape), weights[:, None].expand(shape)).float()
