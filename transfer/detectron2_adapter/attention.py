"""Attention of detectron2's ViT through torch's fused kernels, and that ViT made of it.

Parameters keep detectron2's names, so the weights of either fit the other.
"""

import torch
import torch.nn.functional as F
from detectron2.modeling.backbone.utils import get_abs_pos, get_rel_pos
from detectron2.modeling.backbone.vit import Attention, ViT
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class PlainAttention(nn.Module):
    """Multi-head attention among the tokens of a grid, made of the layers of detectron2's."""

    def __init__(self, given: Attention) -> None:
        super().__init__()
        self.num_heads = given.num_heads
        self.qkv, self.proj = given.qkv, given.proj

    def forward(self, grid: Tensor) -> Tensor:
        """Return the attended (batch, height, width, channels)."""
        batch, height, width, _ = grid.shape
        split = self.qkv(grid).reshape(batch, height * width, 3, self.num_heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.attend(q, k, v, (height, width)).transpose(1, 2)
        out: Tensor = self.proj(mixed.reshape(batch, height, width, -1))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor, _sides: tuple[int, int]) -> Tensor:
        """Return softmax(qk)v of (batch, heads, tokens, channels)."""
        return F.scaled_dot_product_attention(q, k, v)


class DecomposedAttention(PlainAttention):
    """The same with ViTDet's relative positions: q·R_h[rows apart] + q·R_w[columns apart].

    Both terms become dot products: the queries get them as further channels, one for each row and
    column of keys, and a key has 1 in the channels of its own. So no matrix of all pairs is held,
    and the kernels that never make one take it; the values are widened for them with zeros.
    """

    def __init__(self, given: Attention) -> None:
        super().__init__(given)
        self.rel_pos_h, self.rel_pos_w = given.rel_pos_h, given.rel_pos_w

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sides: tuple[int, int]) -> Tensor:
        """Return softmax(qk + relative terms)v."""
        (height, width), channels = sides, q.shape[-1]
        grid = q.unflatten(2, sides)
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, get_rel_pos(height, height, self.rel_pos_h))
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, get_rel_pos(width, width, self.rel_pos_w))
        own = torch.cat([_own_row(height, width, k), _own_column(height, width, k)], dim=1)
        wide_q = torch.cat([q * channels**-0.5, rows.flatten(2, 3), columns.flatten(2, 3)], dim=-1)
        wide_k = torch.cat([k, own.expand(*k.shape[:2], -1, -1)], dim=-1)
        wide_v = F.pad(v, (0, height + width))
        return F.scaled_dot_product_attention(wide_q, wide_k, wide_v, scale=1.0)[..., :channels]


class TableAttention(PlainAttention):
    """The same with a learned bias for each head and offset of two patches of a square grid.

    Liu et al. 2021 (arXiv 2103.14030), as in BEiT; it starts at zero. One row of the table for each
    offset, rows apart first.
    """

    def __init__(self, given: Attention, side: int) -> None:
        super().__init__(given)
        self.side = side
        table = torch.zeros((2 * side - 1) ** 2, given.num_heads)
        self.relative_position_bias_table = nn.Parameter(table)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, sides: tuple[int, int]) -> Tensor:
        """Return softmax(qk + bias)v; the grid must be the table's."""
        if sides != (self.side, self.side):
            raise ValueError(
                f"the relative positions are of {self.side}x{self.side} patches, got a grid of "
                f"{sides[0]}x{sides[1]}; images must be padded to the recipe's image_size"
            )
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias().to(q.dtype)[None])

    def bias(self) -> Tensor:
        """Return each head's bias of every pair, (heads, tokens, tokens).

        Runs of the table are cut out whole: indices of all pairs would be larger than the bias.
        """
        side, heads = self.side, self.num_heads
        table = self.relative_position_bias_table.T.unflatten(1, (2 * side - 1, 2 * side - 1))
        # cut[a, b, k, l] is the offset of key (k, l) from query (side - 1 - a, side - 1 - b).
        cut = table.flip(1, 2).unfold(1, side, 1).unfold(2, side, 1)
        return cut.flip(1, 2).reshape(heads, side**2, side**2)


class FusedViT(ViT):  # type: ignore[misc] # detectron2 has no types
    """detectron2's ViT with fused attention; `recompute` keeps only each block's input."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.recompute = False
        for block in self.blocks:
            fused = DecomposedAttention if block.attn.use_rel_pos else PlainAttention
            block.attn = fused(block.attn)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the last block's output under detectron2's name for it, channels first."""
        (last,) = tapped(self, images, [len(self.blocks) - 1])
        return {self._out_features[0]: last}


def tapped(vit: ViT, images: Tensor, taps: list[int]) -> list[Tensor]:
    """Return the outputs of the blocks of those numbers, (batch, channels, height, width).

    With `vit.recompute` only the blocks' inputs are kept for the gradient.
    """
    tokens = vit.patch_embed(images)
    sides = (tokens.shape[1], tokens.shape[2])
    tokens = tokens + get_abs_pos(vit.pos_embed, vit.pretrain_use_cls_token, sides)
    found = []
    for number, block in enumerate(vit.blocks):
        if vit.recompute and torch.is_grad_enabled():
            tokens = checkpoint(block, tokens, use_reentrant=False)
        else:
            tokens = block(tokens)
        if number in taps:
            found.append(tokens.permute(0, 3, 1, 2))
    return found


def _own_row(height: int, width: int, like: Tensor) -> Tensor:
    """Return for every token 1 in the channel of its row."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device)
    return rows.repeat_interleave(width, dim=0)


def _own_column(height: int, width: int, like: Tensor) -> Tensor:
    """Return for every token 1 in the channel of its column."""
    return torch.eye(width, dtype=like.dtype, device=like.device).repeat(height, 1)
