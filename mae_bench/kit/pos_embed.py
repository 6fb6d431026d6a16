"""Position embeddings: made from sines and cosines, and resized to another grid."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def sincos_pos_embed(width: int, grid: int) -> Float[Tensor, "1 tokens width"]:
    """Return the fixed 2-D embedding of MAE: row 0 (cls) is zero, then the grid row by row.

    The first half of the width encodes the column, the second the row; each is [sin, cos] over
    width/4 frequencies 10000^(-4i/width) (Vaswani et al. 2017, sec. 3.5, for two axes).
    Raises ValueError if the width is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"a 2-D sin-cos embedding needs a width divisible by 4, got {width}")
    quarter = width // 4
    frequency = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)
    column = axis[None, :, :].expand(grid, grid, -1)
    row = axis[:, None, :].expand(grid, grid, -1)
    table = torch.cat([column, row], dim=2).reshape(grid * grid, width)
    return torch.cat([torch.zeros(1, width), table.float()])[None]


def resize_pos_embed(
    pos_embed: Float[Tensor, "1 tokens width"],
    grid: tuple[int, int],
    prefix: int = 1,
    source: tuple[int, int] | None = None,
) -> Float[Tensor, "1 new_tokens width"]:
    """Return the embedding at grid (rows, columns): bicubic over patches, the first rows untouched.

    `prefix`: rows before the patches, 1 for a cls row. `source`: its own grid, square if not given.
    The same grid returns the same values.
    """
    first, patches = pos_embed[:, :prefix], pos_embed[:, prefix:]
    side = round(patches.shape[1] ** 0.5)
    rows, columns = source or (side, side)
    if rows * columns != patches.shape[1]:
        expected = f"{rows}x{columns}" if source else "a square grid"
        raise ValueError(
            f"expected {expected} plus {prefix} rows, got {pos_embed.shape[1]} position rows"
        )
    if (rows, columns) == grid:
        return pos_embed
    image = patches.reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([first, resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
