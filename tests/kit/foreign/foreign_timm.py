"""Encoders under timm's names, saved as timm and the codes of the papers save them."""

import argparse
from pathlib import Path

import numpy as np
import torch
from foreign_case import (
    DEPTH,
    PATCH,
    SIDE,
    WIDTH,
    Case,
    below,
    noise,
    randomise,
    saved,
    timm_beit,
    timm_vit,
)
from torch import Tensor, nn

from mae_bench.kit.foreign.importing import ImportOptions


def timm_plain(tmp: Path) -> Case:
    model = timm_vit()
    return saved(tmp / "model.safetensors", model.state_dict(), features=model.forward_features)


def timm_head(tmp: Path) -> Case:
    model = timm_vit(num_classes=5)
    return saved(tmp / "m.pth", model.state_dict(), features=model.forward_features)


def timm_registers(tmp: Path) -> Case:
    model = timm_vit(reg_tokens=4, init_values=0.1)
    return saved(tmp / "m.pth", model.state_dict(), features=model.forward_features)


def timm_no_embed_class(tmp: Path) -> Case:
    model = timm_vit(reg_tokens=2, no_embed_class=True, qkv_bias=False)
    return saved(tmp / "m.pth", model.state_dict(), features=model.forward_features)


def timm_average(tmp: Path) -> Case:
    model = timm_vit(class_token=False, global_pool="avg", num_classes=5)
    return saved(tmp / "m.pth", model.state_dict(), features=model.forward_features)


def timm_registers_without_cls(tmp: Path) -> Case:
    model = timm_vit(class_token=False, reg_tokens=1, global_pool="avg", fc_norm=False)
    return saved(tmp / "m.pth", model.state_dict(), features=model.forward_features)


def linear_patches(tmp: Path) -> Case:
    model = timm_vit()
    state = model.state_dict()
    state["patch_embed.proj.weight"] = state["patch_embed.proj.weight"].flatten(1)
    return saved(tmp / "m.pth", state, features=model.forward_features)


def half(tmp: Path) -> Case:
    model = timm_vit()
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return saved(tmp / "m.pth", state, features=model.forward_features)


def mae_decoder() -> dict[str, Tensor]:
    decoder = timm_vit(embed_dim=16, num_heads=2)
    state = {
        f"decoder_{name}": tensor
        for name, tensor in decoder.state_dict().items()
        if name.startswith(("blocks", "norm", "pos_embed"))
    }
    return state | {
        "mask_token": torch.randn(1, 1, 16),
        "decoder_embed.weight": torch.randn(16, WIDTH),
        "decoder_embed.bias": torch.randn(16),
        "decoder_pred.weight": torch.randn(PATCH**2 * 3, 16),
        "decoder_pred.bias": torch.randn(PATCH**2 * 3),
    }


def mae_full(tmp: Path) -> Case:
    """Return a training checkpoint of facebookresearch/mae: options, optimiser and all."""
    model = timm_vit()
    optimizer = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    optimizer.step()
    randomise(model)
    content = {
        "model": model.state_dict() | mae_decoder(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "scaler": {"scale": 65536.0},
        "best": np.float64(0.5),
        "args": argparse.Namespace(batch_size=64, output_dir="out"),
    }
    return saved(tmp / "checkpoint-3.pth", content, features=model.forward_features)


def mae_encoder(tmp: Path) -> Case:
    from mae_bench.kit.pos_embed import sincos_pos_embed

    model = timm_vit()
    with torch.no_grad():
        model.pos_embed.copy_(sincos_pos_embed(WIDTH, SIDE // PATCH))
    return saved(tmp / "m.pth", {"model": model.state_dict()}, features=model.forward_features)


def mae_finetuned(tmp: Path) -> Case:
    model = timm_vit(global_pool="avg", num_classes=7)
    return saved(tmp / "m.pth", {"model": model.state_dict()}, features=model.forward_features)


def moco_v3(tmp: Path) -> Case:
    model = timm_vit()
    state = below("module.base_encoder.", model.state_dict())
    state |= below("module.momentum_encoder.", noise(model.state_dict()))
    for encoder in ("base", "momentum"):
        state[f"module.{encoder}_encoder.head.0.weight"] = torch.randn(8, WIDTH)
        state[f"module.{encoder}_encoder.head.1.running_mean"] = torch.randn(8)
        state[f"module.{encoder}_encoder.head.1.num_batches_tracked"] = torch.tensor(4)
    state["module.predictor.0.weight"] = torch.randn(8, 8)
    content = {"epoch": 300, "arch": "vit_base", "state_dict": state, "optimizer": {"state": {}}}
    return saved(tmp / "vit-b-300ep.pth.tar", content, features=model.forward_features)


def dino_head() -> dict[str, Tensor]:
    return {
        "head.mlp.0.weight": torch.randn(8, WIDTH),
        "head.last_layer.weight_g": torch.randn(9, 1),
        "head.last_layer.weight_v": torch.randn(9, 8),
    }


def dino(tmp: Path) -> Case:
    model = timm_vit()
    state = model.state_dict()
    content = {
        "student": below("module.", below("backbone.", noise(state)) | dino_head()),
        "teacher": below("backbone.", state) | dino_head(),
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small"),
        "dino_loss": {"center": torch.zeros(1, 9)},
    }
    return saved(tmp / "checkpoint.pth", content, features=model.forward_features)


def dinov2(tmp: Path) -> Case:
    """Return facebookresearch's file: the cls token alone has a position, registers have none."""
    model = timm_vit(reg_tokens=4, init_values=0.1, no_embed_class=True)
    state = model.state_dict()
    place = torch.randn(1, 1, WIDTH)
    cls_token = state["cls_token"].clone()
    state["pos_embed"] = torch.cat([place, state["pos_embed"]], dim=1)
    state["register_tokens"] = state.pop("reg_token")
    state["mask_token"] = torch.zeros(1, WIDTH)
    model.cls_token.data = cls_token + place
    return saved(tmp / "dinov2_vits14_reg4.pth", state, features=model.forward_features)


def dinov2_training(tmp: Path) -> Case:
    model = timm_vit(init_values=0.1)
    state = {
        name.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): tensor
        for name, tensor in model.state_dict().items()
    }
    state = below("backbone.", state | {"mask_token": torch.zeros(1, WIDTH)})
    state |= {
        "dino_head.mlp.0.weight": torch.randn(4, WIDTH),
        "ibot_head.mlp.0.bias": torch.ones(2),
    }
    return saved(tmp / "teacher.pth", {"teacher": state}, features=model.forward_features)


def beit_blocks(tmp: Path) -> Case:
    """Return a fine-tuned BEiT: a table for each block, its index, and a norm after pooling."""
    model = timm_beit(num_classes=5)
    state = dict(model.state_dict())
    for i in range(DEPTH):
        index = model.blocks[i].attn.relative_position_index
        state[f"blocks.{i}.attn.relative_position_index"] = index
    content = {"model": state, "args": argparse.Namespace()}
    return saved(tmp / "beit.pth", content, ImportOptions(), model.forward_features)


def beit_shared(tmp: Path) -> Case:
    """Return a pretrained BEiT: one table for all blocks, and the head for visual words."""
    model = timm_beit(use_shared_rel_pos_bias=True, use_rel_pos_bias=False, use_abs_pos_emb=True)
    model.norm = nn.LayerNorm(WIDTH, eps=1e-6)
    model.fc_norm = nn.Identity()
    randomise(model)
    state = dict(model.state_dict())
    state["rel_pos_bias.relative_position_index"] = model.rel_pos_bias.relative_position_index
    state |= {
        "mask_token": torch.randn(1, 1, WIDTH),
        "lm_head.weight": torch.randn(11, WIDTH),
        "lm_head.bias": torch.randn(11),
    }
    return saved(tmp / "beit.pth", {"model": state}, ImportOptions(), model.forward_features)


BUILDERS = {
    "timm": timm_plain,
    "timm with a head": timm_head,
    "timm with registers and LayerScale": timm_registers,
    "timm without positions of cls and registers, without qkv bias": timm_no_embed_class,
    "timm without cls token, pooled": timm_average,
    "timm with one register and no cls token": timm_registers_without_cls,
    "linear patch embedding": linear_patches,
    "half precision": half,
    "mae with decoder": mae_full,
    "mae encoder": mae_encoder,
    "mae fine-tuned": mae_finetuned,
    "moco_v3": moco_v3,
    "dino": dino,
    "dinov2": dinov2,
    "dinov2 training": dinov2_training,
    "beit, fine-tuned": beit_blocks,
    "beit, pretrained": beit_shared,
}
