"""The plain Vision Transformer of all our own training; its state dict has canonical names."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from timm.layers import PatchEmbed, gen_relative_position_index
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae_bench.kit.pos_embed import sincos_pos_embed
from mae_bench.kit.spec import EncoderSpec

NORM_EPS = 1e-6


def run_blocks(
    blocks: nn.ModuleList,
    tokens: Float[Tensor, "batch tokens width"],
    recompute: bool,
    num_last: int = 0,
) -> Float[Tensor, "batch out width"]:
    """Return the tokens after all blocks, keeping only each block's input if `recompute`.

    With `num_last` the last block is a TailBlock and only so many tokens come out.
    """
    for block in blocks:
        words = (tokens, num_last) if isinstance(block, TailBlock) else (tokens,)
        if recompute and torch.is_grad_enabled():
            tokens = checkpoint(block, *words, use_reentrant=False)
        else:
            tokens = block(*words)
    return tokens


class VisionTransformer(nn.Module):
    """ViT encoder (Dosovitskiy et al. 2021) with the variations that its spec names.

    The position embedding starts as 2-D sin-cos. Subclasses add heads beside, under flat names.
    """

    def __init__(self, spec: EncoderSpec, drop_path: float = 0.0) -> None:
        super().__init__()
        self.spec = spec
        self.recompute = False
        if spec.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        if spec.num_registers:
            self.reg_token = nn.Parameter(torch.zeros(1, spec.num_registers, spec.width))
        if spec.absolute_positions:
            positions = sincos_pos_embed(spec.width, spec.grid)
            self.pos_embed = nn.Parameter(positions[:, int(not spec.class_token) :])
        self.patch_embed = PatchEmbed(spec.image_size, spec.patch_size, 3, spec.width)
        last = max(1, spec.depth - 1)
        rates = [drop_path * i / last for i in range(spec.depth)]
        self.blocks = nn.ModuleList(encoder_block(spec, rate) for rate in rates)
        self.norm: nn.Module = nn.Identity()
        if spec.final_norm:
            self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def embed(
        self,
        images: Float[Tensor, "batch 3 side side"],
        keep: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return cls, registers and patches with positions; only the patches `keep` if given."""
        spec, batch = self.spec, len(images)
        patches = patchify(images, spec.patch_size)
        if keep is not None:
            patches = gather_tokens(patches, keep)
        projection = self.patch_embed.proj
        tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)
        if spec.absolute_positions:
            positions = self.pos_embed[:, int(spec.class_token) :]
            if keep is not None:
                positions = gather_tokens(positions.expand(batch, -1, -1), keep)
            tokens = tokens + positions
        prefix = []
        if spec.class_token:
            place = self.pos_embed[:, :1] if spec.absolute_positions else 0.0
            prefix.append((self.cls_token + place).expand(batch, -1, -1))
        if spec.num_registers:
            prefix.append(self.reg_token.expand(batch, -1, -1))
        return torch.cat([*prefix, tokens], dim=1)

    def encode(
        self,
        images: Float[Tensor, "batch 3 side side"],
        keep: Int[Tensor, "batch kept"] | None = None,
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the tokens after the last block, before any norm."""
        return run_blocks(self.blocks, self.embed(images, keep), self.recompute)

    def forward(
        self, images: Float[Tensor, "batch 3 side side"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the normalised tokens: cls, registers, patches."""
        return self.norm(self.encode(images))

    def pooled(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        """Return the cls token, or the mean of the patches where the encoder was made for that."""
        if self.spec.class_token and self.spec.pool == "cls":
            return tokens[:, 0]
        return tokens[:, self.spec.num_prefix :].mean(dim=1)


class TailBlock(Block):
    """A block for the end of a stack whose output is wanted for the last tokens alone.

    Those attend to all tokens, so their values are a whole block's; the others' queries, projection
    and MLP are saved.
    """

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"], num_last: int
    ) -> Float[Tensor, "batch last width"]:
        """Return the block's output for the last `num_last` tokens."""
        attention, normed = self.attn, self.norm1(tokens)
        batch, count, width = tokens.shape
        weights = attention.qkv.weight.split((width, 2 * width))
        biases = attention.qkv.bias.split((width, 2 * width))
        split = (attention.num_heads, attention.head_dim)
        q = F.linear(normed[:, -num_last:], weights[0], biases[0]).view(batch, num_last, *split)
        k, v = F.linear(normed, weights[1], biases[1]).view(batch, count, 2, *split).unbind(2)
        attended = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
        mixed = attention.proj(attended.transpose(1, 2).reshape(batch, num_last, width))
        out = tokens[:, -num_last:] + self.drop_path1(mixed)
        return out + self.drop_path2(self.mlp(self.norm2(out)))


class RelativeBlock(Block):
    """A block whose attention adds a learned bias for each head and offset of two patches.

    BEiT, Bao et al. 2021 (arXiv 2106.08254); the table's last three rows are for the cls token.
    """

    def __init__(self, grid: int, heads: int, *words: Any, **settings: Any) -> None:
        super().__init__(*words, num_heads=heads, **settings)
        table = torch.zeros((2 * grid - 1) ** 2 + 3, heads)
        self.attn.relative_position_bias_table = nn.Parameter(table)
        offsets = gen_relative_position_index((grid, grid), class_token=True)
        self.register_buffer("offsets", offsets, persistent=False)

    def forward(
        self, tokens: Float[Tensor, "batch tokens width"]
    ) -> Float[Tensor, "batch tokens width"]:
        """Return the block's output."""
        bias = self.attn.relative_position_bias_table[self.offsets]
        return super().forward(tokens, attn_mask=bias.permute(2, 0, 1)[None].contiguous())


def encoder_block(spec: EncoderSpec, drop_path: float) -> nn.Module:
    """Return one block of an encoder of that spec."""
    settings: dict[str, Any] = {
        "mlp_ratio": 4.0,
        "qkv_bias": spec.qkv_bias,
        "init_values": 1.0 if spec.layer_scale else None,
        "drop_path": drop_path,
        "norm_layer": partial(nn.LayerNorm, eps=spec.norm_eps),
    }
    if spec.relative_positions:
        return RelativeBlock(spec.grid, spec.heads, spec.width, **settings)
    return Block(spec.width, spec.heads, **settings)


def make_block(
    width: int, heads: int, drop_path: float = 0.0, kind: type[Block] = Block
) -> nn.Module:
    """Return timm's pre-norm block with MLP ratio 4, qkv bias and this project's eps."""
    norm = partial(nn.LayerNorm, eps=NORM_EPS)
    return kind(width, heads, mlp_ratio=4.0, qkv_bias=True, drop_path=drop_path, norm_layer=norm)


def init_weights(model: nn.Module) -> None:
    """Initialise as MAE does: Xavier-uniform linears, zero biases, cls and mask token normal 0.02.

    The fused qkv is one matrix and the patch embedding a linear map [width, 3*patch*patch].
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, PatchEmbed):
            nn.init.xavier_uniform_(module.proj.weight.flatten(1))
            nn.init.zeros_(module.proj.bias)
    for name, parameter in model.named_parameters():
        if name in ("cls_token", "mask_token"):
            nn.init.normal_(parameter, std=0.02)


def patchify(
    images: Float[Tensor, "batch 3 side side"], patch_size: int
) -> Float[Tensor, "batch patches pixels"]:
    """Return patches row by row; inside one, channel first as a convolution kernel has them."""
    batch, _, side, _ = images.shape
    grid = side // patch_size
    split = images.reshape(batch, 3, grid, patch_size, grid, patch_size)
    return split.permute(0, 2, 4, 1, 3, 5).reshape(batch, grid * grid, -1)


def gather_tokens(
    tokens: Float[Tensor, "batch tokens width"], index: Int[Tensor, "batch kept"]
) -> Float[Tensor, "batch kept width"]:
    """Return the tokens at the given places of each sample."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))
