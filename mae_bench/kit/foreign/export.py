"""Encoders written as the checkpoints of other libraries."""

import io
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from timm.layers import gen_relative_position_index
from torch import Tensor

from mae_bench.core.files import commit, write_bytes
from mae_bench.kit.encoder import Encoder
from mae_bench.kit.foreign.naming import TABLE
from mae_bench.kit.spec import EncoderSpec

ExportFormat = Literal["timm", "mae", "hf", "detectron2", "mmseg"]
State = Mapping[str, Tensor]

FIXED_EPS = 1e-6
"""Of the norms of all but transformers, which alone keeps it in a config."""
HF_BLOCK = {
    "attn.proj.": "attention.output.dense.",
}
HF_VIT = HF_BLOCK | {
    "norm1.": "layernorm_before.",
    "norm2.": "layernorm_after.",
    "mlp.fc1.": "intermediate.dense.",
    "mlp.fc2.": "output.dense.",
}
HF_DINOV2 = HF_BLOCK | {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
HF_OUTSIDE = {
    "cls_token": "embeddings.cls_token",
    "reg_token": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "norm.": "layernorm.",
}
MMSEG_BLOCK = {
    "norm1.": "ln1.",
    "norm2.": "ln2.",
    "mlp.fc1.": "ffn.layers.0.0.",
    "mlp.fc2.": "ffn.layers.1.",
    "ls1.gamma": "gamma_1",
    "ls2.gamma": "gamma_2",
}
MMSEG_OUTSIDE = {"patch_embed.proj.": "patch_embed.projection.", "norm.": "ln1."}


def export_encoder(encoder: Encoder, format: ExportFormat, out: Path) -> tuple[str, ...]:  # noqa: A002 - as the flag
    """Write the encoder as that library loads it, whole or not at all; return what to know of it.

    `out`: for timm a .safetensors or .pth file, for mae, detectron2 and mmseg a .pth file, for hf a
    folder. Raises ValueError if it exists, or if the format cannot hold the encoder.
    """
    suffixes = {"timm": (".safetensors", ".pth"), "hf": ("",)}.get(format, (".pth",))
    if out.suffix not in suffixes:
        wanted = " or ".join(suffixes) if format != "hf" else "none: a folder is written"
        raise ValueError(f"{out}: the suffix for format {format} must be {wanted}")
    if out.exists():
        raise ValueError(f"{out} exists; remove it, or give another path")
    state = {name: tensor.contiguous() for name, tensor in encoder.state.items()}
    contents, notes = WRITERS[format](replace(encoder, state=state))
    out.parent.mkdir(parents=True, exist_ok=True)
    if format == "hf":
        _write_folder(out, contents)
    else:
        weights = contents["weights"]
        write_bytes(out, save(weights) if out.suffix == ".safetensors" else _pickled(weights))
    mean, std = encoder.spec.pixels
    if format != "hf":
        notes = (*notes, f"pixels are normalised with mean {mean} and deviation {std}")
    return notes


def _timm(encoder: Encoder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a state dict for timm's VisionTransformer, or its Beit with relative positions."""
    spec, state = encoder.spec, dict(encoder.state)
    _require(spec, "timm", norm_eps=FIXED_EPS)
    if spec.relative_positions:
        return _timm_beit(spec, state)
    note = f"for timm's VisionTransformer with {spec.heads} heads"
    if spec.num_registers and spec.absolute_positions:
        rows = int(spec.class_token)
        first, rest = state["pos_embed"][:, :rows], state["pos_embed"][:, rows:]
        if first.any() or not spec.class_token:
            empty = torch.zeros(1, spec.num_registers, spec.width)
            state["pos_embed"] = torch.cat([first, empty, rest], dim=1)
        else:
            state["pos_embed"] = rest.clone()
            note += ", no_embed_class=True"
    return {"weights": state}, (note,)


def _timm_beit(
    spec: EncoderSpec, state: dict[str, Tensor]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a state dict for timm's Beit, which has no key bias and its own LayerScale names."""
    _require(spec, "timm's Beit", final_norm=True)
    state = _renamed(state, {}, {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}, "blocks")
    for i in range(spec.depth):
        bias = state.pop(f"blocks.{i}.attn.qkv.bias", None)
        if bias is None:
            continue
        query, key, value = bias.chunk(3)
        if key.any():
            raise ValueError(
                f"timm's Beit has no place for the key bias of block {i}, which is not zero; "
                "export to mmseg"
            )
        state[f"blocks.{i}.attn.q_bias"] = query.clone()
        state[f"blocks.{i}.attn.v_bias"] = value.clone()
    return {"weights": state}, (f"for timm's Beit with {spec.heads} heads",)


def _mae(encoder: Encoder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what MAE's code reads: the canonical names under `model`."""
    plain = {
        "num_registers": 0,
        "layer_scale": False,
        "qkv_bias": True,
        "relative_positions": False,
        "absolute_positions": True,
        "class_token": True,
        "final_norm": True,
    }
    _require(encoder.spec, "MAE's code", norm_eps=FIXED_EPS, **plain)
    return {"weights": {"model": dict(encoder.state)}}, ()


def _hf(encoder: Encoder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the files of a transformers folder: a ViT, or a DINOv2 where there is LayerScale."""
    spec, state = encoder.spec, encoder.state
    always = {"relative_positions": False, "absolute_positions": True, "class_token": True}
    _require(spec, "transformers", final_norm=True, **always)
    if spec.num_registers:
        _require(spec, "transformers' DINOv2 with registers", layer_scale=True)
    model_type, kind, block = "vit", "ViTModel", HF_VIT
    config: dict[str, Any] = {"intermediate_size": 4 * spec.width}
    if spec.layer_scale:
        block, config = HF_DINOV2, {"mlp_ratio": 4, "use_mask_token": False}
        model_type, kind = "dinov2", "Dinov2Model"
    if spec.num_registers:
        model_type, kind = "dinov2_with_registers", "Dinov2WithRegistersModel"
        config = {"mlp_ratio": 4, "num_register_tokens": spec.num_registers}
    tensors = _renamed(_split(state, spec), HF_OUTSIDE, block, "encoder.layer")
    if spec.num_registers:  # its model always has one, for masked pretraining
        tensors["embeddings.mask_token"] = torch.zeros(1, spec.width)
    config |= {
        "architectures": [kind],
        "model_type": model_type,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "num_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": spec.norm_eps,
        "qkv_bias": spec.qkv_bias,
    }
    note = f"for transformers' {kind}"
    note += ".from_pretrained(FOLDER, add_pooling_layer=False)" if kind == "ViTModel" else ""
    return {
        "model.safetensors": save(tensors, {"format": "pt"}),
        "config.json": _json(config),
        "preprocessor_config.json": _json(_preprocessor(spec)),
    }, (note,)


def _detectron2(encoder: Encoder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what detectron2's checkpointer reads into the ViT of a ViTDet."""
    spec = encoder.spec
    plain = {"num_registers": 0, "layer_scale": False, "relative_positions": False}
    _require(spec, "detectron2's ViT", norm_eps=FIXED_EPS, absolute_positions=True, **plain)
    model = {f"backbone.net.{name}": tensor for name, tensor in encoder.state.items()}
    notes = [f"for ViT(use_rel_pos=False, pretrain_use_cls_token={spec.class_token})"]
    if spec.class_token or spec.final_norm:
        notes.append("detectron2's ViT has no cls token and no final norm, and leaves them out")
    return {"weights": {"model": model}}, tuple(notes)


def _mmseg(encoder: Encoder) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what mmsegmentation reads into its MAE backbone, which always has relative positions
    and LayerScale: zeros and ones where the encoder has none.
    """
    spec = encoder.spec
    plain = {"num_registers": 0, "qkv_bias": True, "class_token": True, "absolute_positions": True}
    _require(spec, "mmsegmentation's MAE backbone", norm_eps=FIXED_EPS, **plain)
    state = dict(encoder.state)
    index = gen_relative_position_index((spec.grid, spec.grid), class_token=True)
    for i in range(spec.depth):
        block = f"blocks.{i}."
        table = torch.zeros((2 * spec.grid - 1) ** 2 + 3, spec.heads)
        state.setdefault(f"{block}attn.{TABLE}", table)
        state[f"{block}attn.relative_position_index"] = index.clone()
        for name in ("ls1.gamma", "ls2.gamma"):
            state.setdefault(block + name, torch.ones(spec.width))
    state = _renamed(state, MMSEG_OUTSIDE, MMSEG_BLOCK, "layers")
    note = f"for the MAE backbone with norm eps 1e-6 and final_norm={spec.final_norm}"
    return {"weights": {"state_dict": {f"backbone.{n}": t for n, t in state.items()}}}, (note,)


WRITERS: dict[str, Callable[[Encoder], tuple[dict[str, Any], tuple[str, ...]]]] = {
    "timm": _timm,
    "mae": _mae,
    "hf": _hf,
    "detectron2": _detectron2,
    "mmseg": _mmseg,
}


def _require(spec: EncoderSpec, library: str, **wanted: Any) -> None:
    """Raise ValueError for the first field of the spec that the library cannot hold."""
    for name, value in wanted.items():
        found = getattr(spec, name)
        if found != value:
            raise ValueError(
                f"{library} has no place for an encoder with {name} {found}, only {value}; export "
                "it to another format, or pass the encoder.safetensors itself on"
            )


def _split(state: State, spec: EncoderSpec) -> dict[str, Tensor]:
    """Return the state with query, key and value apart, under transformers' names."""
    apart = {name: tensor for name, tensor in state.items() if ".attn.qkv." not in name}
    for i in range(spec.depth):
        for kind in ("weight", "bias") if spec.qkv_bias else ("weight",):
            parts = state[f"blocks.{i}.attn.qkv.{kind}"].chunk(3)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                apart[f"blocks.{i}.attention.attention.{name}.{kind}"] = part.clone()
    return apart


def _renamed(
    state: State, outside: Mapping[str, str], block: Mapping[str, str], blocks: str
) -> dict[str, Tensor]:
    """Return the state with beginnings of names replaced, inside the blocks and outside."""
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("blocks."):
            _, number, inner = name.split(".", 2)
            renamed[f"{blocks}.{number}.{_replaced(inner, block)}"] = tensor
        else:
            renamed[_replaced(name, outside)] = tensor
    return renamed


def _replaced(name: str, beginnings: Mapping[str, str]) -> str:
    """Return the name with the beginning that fits replaced."""
    fitting = next((start for start in beginnings if name.startswith(start)), None)
    return name if fitting is None else beginnings[fitting] + name.removeprefix(fitting)


def _preprocessor(spec: EncoderSpec) -> dict[str, Any]:
    """Return transformers' description of the images that the encoder takes."""
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "size": {"height": spec.image_size, "width": spec.image_size},
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }


def _json(value: Any) -> bytes:
    """Return the value as an indented JSON file."""
    return (json.dumps(value, indent=2) + "\n").encode()


def _pickled(value: Any) -> bytes:
    """Return what torch.load reads."""
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the folder so that it is there with all files or not at all."""
    part = out.with_name(f"{out.name}.{os.getpid()}.part")
    try:
        part.mkdir()
        for name, content in files.items():
            write_bytes(part / name, content)
        commit(part, out)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise
