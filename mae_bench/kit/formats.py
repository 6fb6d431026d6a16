"""Encoders in pickled checkpoints of other code, converted to the canonical naming."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mae_bench.kit.archs import ARCHS
from mae_bench.kit.spec import EncoderSpec

DECODER = ("mask_token", "decoder_", "head.", "fc_norm.")
"""What pretraining and fine-tuning checkpoints carry beside the encoder."""


def read_foreign(path: Path) -> tuple[EncoderSpec, dict[str, Tensor]]:
    """Return spec and tensors of a .pth, .pt or .bin file with timm or reference MAE names.

    The file is unpickled with weights_only, so nothing in it runs. The spec is inferred from the
    tensors' shapes. Raises ValueError naming the file and what was found.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{path} cannot be read as plain weights ({reason}); expected an encoder.safetensors "
            "or a .pth with tensors only"
        ) from error
    state = _state_of(path, content)
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith(DECODER)}
    return spec_of(str(path), encoder), encoder


def spec_of(what: str, state: Mapping[str, Tensor]) -> EncoderSpec:
    """Return the spec that the canonical tensors imply; ValueError if no named size fits."""
    try:
        width, _, patch_size, _ = state["patch_embed.proj.weight"].shape
        tokens = state["pos_embed"].shape[1]
    except (KeyError, ValueError) as error:
        names = ", ".join(list(state)[:5]) or "no tensors"
        raise ValueError(
            f"{what} is no plain ViT encoder: expected pos_embed and patch_embed.proj.weight "
            f"[width, 3, patch, patch], found {names}"
        ) from error
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    for arch, shape in ARCHS.items():
        if (shape.width, shape.depth, shape.patch_size) == (width, depth, patch_size):
            side = round((tokens - 1) ** 0.5) * patch_size
            return EncoderSpec(
                arch=arch,
                image_size=side,
                patch_size=patch_size,
                width=width,
                depth=depth,
                heads=shape.heads,
                origin="foreign",
            )
    raise ValueError(
        f"{what} has width {width}, depth {depth}, patch {patch_size}; known sizes: "
        + ", ".join(ARCHS)
    )


def _state_of(path: Path, content: Any) -> dict[str, Tensor]:
    """Return the tensors in the pickle, which may sit under 'model' or 'state_dict'."""
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected named tensors")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
