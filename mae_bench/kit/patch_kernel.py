"""Patch embeddings brought to the patch size that a dense toolbox needs."""

import math

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def dense_patch_size(patch_size: int) -> int:
    """Return the patch size inside detectors and segmenters: the next power of two, so 16 for 14.

    Their pyramids halve and double, which strides that are no powers of two do not allow.
    """
    return int(2 ** math.ceil(math.log2(patch_size)))


def resize_patch_kernel(
    kernel: Float[Tensor, "width 3 side side"], side: int
) -> Float[Tensor, "width 3 new_side new_side"]:
    """Return the kernel at another patch size, bicubic as ViTDet does for ViT-H."""
    if kernel.shape[-1] == side:
        return kernel
    return F.interpolate(kernel, size=(side, side), mode="bicubic", align_corners=False)
