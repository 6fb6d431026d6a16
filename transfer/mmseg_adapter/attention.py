"""A fused attention and recomputed blocks for mmsegmentation's MAE backbone.

Parameters, buffers and their names stay mmsegmentation's, so its checkpoints fit both ways.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from mmseg.models.backbones.mae import MAEAttention, MAETransformerEncoderLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Tokens = Float[Tensor, "batch tokens width"]


class FusedAttention(MAEAttention):  # type: ignore[misc] # mmseg has no types
    """mmsegmentation's attention through torch's fused one: no [tokens, tokens] map is kept."""

    def forward(self, x: Tokens) -> Tokens:
        """Return the mixed tokens; the relative positions are the attention mask."""
        batch, count, width = x.shape
        qkv = self.qkv(x).view(batch, count, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = F.embedding(self.relative_position_index, self.relative_position_bias_table)
        mixed = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=bias.permute(2, 0, 1)[None].to(q.dtype).contiguous(),
            dropout_p=self.attn_drop.p if self.training else 0.0,
            scale=self.scale,
        )
        return self.proj_drop(self.proj(mixed.transpose(1, 2).reshape(batch, count, width)))


class RecomputedLayer(MAETransformerEncoderLayer):  # type: ignore[misc] # mmseg has no types
    """mmsegmentation's block, which with `recompute` keeps only its input for the gradient."""

    recompute = False

    def forward(self, x: Tokens) -> Tokens:
        """Return the block's output."""
        if self.recompute and torch.is_grad_enabled():
            out: Any = checkpoint(super().forward, x, use_reentrant=False)
            return out
        return super().forward(x)


def fuse(backbone: nn.Module) -> None:
    """Give the backbone's blocks, in place, the two classes above in place of their parents.

    Nothing but methods differs, so the modules keep their tensors, hooks and initialisation.
    """
    for layer in backbone.layers:
        assert type(layer) is MAETransformerEncoderLayer
        assert type(layer.attn) is MAEAttention
        layer.__class__ = RecomputedLayer
        layer.attn.__class__ = FusedAttention
