"""An encoder brought to another image size, or to what a toolbox's ViT can hold."""

from dataclasses import replace
from typing import Literal

import torch
from timm.layers import resize_rel_pos_bias_table
from torch import Tensor

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.patch_kernel import dense_patch_size, resize_patch_kernel
from mae_bench.kit.pos_embed import resize_pos_embed

TABLE = "attn.relative_position_bias_table"


def at_image_size(encoder: Encoder, image_size: int) -> Encoder:
    """Return the encoder with its positions resized to that image size.

    The absolute ones bicubically; relative tables by timm's, which keeps near offsets where they
    are (Bao et al. 2021). Raises ValueError if the patch does not divide the size.
    """
    spec = replace(encoder.spec, image_size=image_size)
    before, grid = encoder.spec.grid, spec.grid
    if grid == before:
        return replace(encoder, spec=spec)
    state, kinds = dict(encoder.state), []
    if spec.absolute_positions:
        kinds.append("position embedding")
        state["pos_embed"] = resize_pos_embed(
            state["pos_embed"], (grid, grid), prefix=int(spec.class_token)
        )
    if spec.relative_positions:
        kinds.append("relative positions")
        for name in (name for name in state if name.endswith(TABLE)):
            shape = ((2 * grid - 1) ** 2 + 3, spec.heads)
            state[name] = resize_rel_pos_bias_table(state[name], (grid, grid), shape)
    note = f"{' and '.join(kinds)} resized from {before}x{before} to {grid}x{grid} patches"
    return replace(encoder, spec=spec, state=state, history=(*encoder.history, note))


def for_toolbox(
    encoder: Encoder, toolbox: str, relative_positions: Literal["refused", "kept"] = "refused"
) -> Encoder:
    """Return the same function as a plain ViT: LayerScale folded into what it multiplies.

    An absent qkv bias becomes zeros, and a patch size that is no power of two the next one, which
    is no longer the same function (ViTDet's resized kernel). A backbone that adds relative
    positions to absolute ones keeps them, absent absolute ones being zeros. Raises ValueError for
    registers, and for relative positions where a backbone cannot hold them.
    """
    spec = encoder.spec
    if spec.num_registers:
        raise ValueError(f"{toolbox} has no place for the encoder's {spec.num_registers} registers")
    state, history = dict(encoder.state), encoder.history
    if relative_positions == "refused" and (spec.relative_positions or not spec.absolute_positions):
        raise ValueError(
            f"{toolbox} has no place for the encoder's relative positions; its backbone takes "
            "absolute ones"
        )
    if not spec.absolute_positions:
        rows = int(spec.class_token) + spec.grid**2
        state["pos_embed"] = torch.zeros(1, rows, spec.width)
        history = (*history, "absent position embedding set to zeros")
    if spec.layer_scale:
        state = _folded(state, spec.depth)
        history = (*history, "LayerScale folded into attn.proj and mlp.fc2")
    if not spec.qkv_bias:
        for i in range(spec.depth):
            state[f"blocks.{i}.attn.qkv.bias"] = torch.zeros(3 * spec.width)
        history = (*history, "absent qkv bias set to zeros")
    plain = replace(spec, layer_scale=False, qkv_bias=True, absolute_positions=True)
    return _at_dense_patch_size(replace(encoder, spec=plain, state=state, history=history))


def _at_dense_patch_size(encoder: Encoder) -> Encoder:
    """Return the encoder with the patch size of dense toolboxes, on the same grid."""
    spec, kernel = encoder.spec, "patch_embed.proj.weight"
    side = dense_patch_size(spec.patch_size)
    if side == spec.patch_size:
        return encoder
    note = f"patch kernel resized from {spec.patch_size} to {side} pixels"
    return replace(
        encoder,
        spec=replace(spec, patch_size=side, image_size=spec.grid * side),
        state=encoder.state | {kernel: resize_patch_kernel(encoder.state[kernel], side)},
        history=(*encoder.history, note),
    )


def _folded(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Return the state without LayerScale, its factors multiplied into the layers before it."""
    state = dict(state)
    for i in range(depth):
        for gamma, layer in (("ls1.gamma", "attn.proj"), ("ls2.gamma", "mlp.fc2")):
            factor = state.pop(f"blocks.{i}.{gamma}")
            weight, bias = f"blocks.{i}.{layer}.weight", f"blocks.{i}.{layer}.bias"
            state[weight] = state[weight] * factor[:, None]
            state[bias] = state[bias] * factor
    return state
