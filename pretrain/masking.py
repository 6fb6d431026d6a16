"""Which patches a masked autoencoder hides (He et al. 2021, sec. 4.1, mask sampling, Figure 6)."""

import math
import random
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Sampling = Literal["random", "block", "grid"]
SMALLEST_BLOCK = 16
"""Patches of the smallest block (BEiT, Bao et al. 2021, Algorithm 1)."""
ASPECT = 0.3
"""Least ratio of a block's sides; the greatest is its inverse."""


def patch_order(
    noise: Float[Tensor, "batch patches"], sampling: Sampling, num_visible: int
) -> Int[Tensor, "batch patches"]:
    """Return the patches of each image, the visible ones first; decided by the noise alone.

    random: by rising noise. block: rectangles are hidden until enough is. grid: one patch of
    every two by two stays visible, the same for all images.
    """
    if sampling == "random":
        return noise.argsort(dim=1)
    side = math.isqrt(noise.shape[1])
    if sampling == "grid":
        rows = torch.arange(side, device=noise.device) % 2
        hidden = torch.ones(side, side, device=noise.device)
        hidden[(rows[:, None] == 0) & (rows[None, :] == 0)] = 0
        hidden = hidden.flatten().expand(len(noise), -1)
    else:
        masks = [_blocks(row, side, num_visible) for row in noise.cpu().unbind()]
        hidden = torch.stack(masks).to(noise.device)
    return (hidden * 2 + noise).argsort(dim=1)  # within each kind by noise


def _blocks(noise: Float[Tensor, " patches"], side: int, num_visible: int) -> Float[Tensor, " n"]:
    """Return 1 for the hidden patches of one image: rectangles, then single ones for the rest."""
    rng = random.Random(noise[0].item())
    hidden = torch.zeros(side, side)
    wanted = side * side - num_visible
    for _ in range(10 * wanted):
        left = wanted - int(hidden.sum())
        if left == 0:
            break
        area = rng.uniform(min(SMALLEST_BLOCK, left), left)
        aspect = math.exp(rng.uniform(math.log(ASPECT), -math.log(ASPECT)))
        height = min(side, max(1, round(math.sqrt(area * aspect))))
        width = min(side, max(1, round(math.sqrt(area / aspect))))
        top, start = rng.randint(0, side - height), rng.randint(0, side - width)
        block = hidden[top : top + height, start : start + width]
        if 0 < block.numel() - int(block.sum()) <= left:
            block.fill_(1)
    flat = hidden.flatten()
    rest = wanted - int(flat.sum())
    if rest:
        flat[(noise + flat * 2).argsort()[:rest]] = 1
    return flat
