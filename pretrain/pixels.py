"""Pixels by patch as MAE's decoder paints them: channel last inside a patch."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def patches_of(
    images: Shaped[Tensor, "batch 3 side side"], patch_size: int
) -> Shaped[Tensor, "batch patches pixels"]:
    """Return the patches row by row."""
    batch, _, side, _ = images.shape
    grid = side // patch_size
    split = images.reshape(batch, 3, grid, patch_size, grid, patch_size)
    return split.permute(0, 2, 4, 3, 5, 1).reshape(batch, grid**2, -1)


def images_of(
    patches: Shaped[Tensor, "batch patches pixels"], patch_size: int
) -> Shaped[Tensor, "batch 3 side side"]:
    """Return the images that `patches_of` took apart."""
    batch, count, _ = patches.shape
    grid = round(count**0.5)
    split = patches.reshape(batch, grid, grid, patch_size, patch_size, 3)
    side = grid * patch_size
    return split.permute(0, 5, 1, 3, 2, 4).reshape(batch, 3, side, side)


def target(
    images: Float[Tensor, "batch 3 side side"], patch_size: int, norm_pix: bool
) -> Float[Tensor, "batch patches pixels"]:
    """Return what the decoder should paint: with norm_pix each patch normalised by its own.

    (x - mean) / sqrt(var + 1e-6) with the unbiased variance (He et al. 2021, sec. 3).
    """
    patches = patches_of(images, patch_size)
    if not norm_pix:
        return patches
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()
