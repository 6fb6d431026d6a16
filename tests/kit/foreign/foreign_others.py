"""Encoders of transformers, torchvision, lightly, OpenMMLab and detectron2, as they save them."""

from functools import partial
from pathlib import Path

import torch
from foreign_case import (
    DEPTH,
    HEADS,
    PATCH,
    SIDE,
    WIDTH,
    Case,
    Features,
    below,
    detectron2_vit,
    mmseg_backbone,
    noise,
    randomise,
    saved,
    timm_vit,
)
from torch import Tensor, nn

from mae_bench.kit.foreign.importing import ImportOptions


def transformers_model(tmp: Path, kind: str, config: str, **settings) -> Case:
    import transformers

    torch.manual_seed(0)
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    if "Dinov2" not in config:
        sizes["intermediate_size"] = 4 * WIDTH
    model = getattr(transformers, kind)(getattr(transformers, config)(**(sizes | settings)))
    randomise(model)
    model.save_pretrained(tmp)
    base = model.base_model

    def features(images: Tensor) -> Tensor:
        if "MAE" in kind:  # which masks, at random, unless told not to
            base.config.mask_ratio = 0.0
            tokens = torch.arange((SIDE // PATCH) ** 2).float().expand(len(images), -1)
            return base(images, noise=tokens).last_hidden_state
        tokens = base(images).last_hidden_state
        # In masked modelling BEiT's final norm lies beside the encoder.
        return model.layernorm(tokens) if "Masked" in kind else tokens

    return Case(tmp / "model.safetensors", features, ImportOptions())


def torchvision_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    return randomise(VisionTransformer(SIDE, PATCH, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=5))


def torchvision_features(model: nn.Module) -> Features:
    def features(images: Tensor) -> Tensor:
        tokens = model._process_input(images)
        cls = model.class_token.expand(len(images), -1, -1)
        return model.encoder(torch.cat([cls, tokens], dim=1))

    return features


def torchvision(tmp: Path) -> Case:
    model = torchvision_vit()
    return saved(tmp / "m.pth", model.state_dict(), features=torchvision_features(model))


def lightly_mae(tmp: Path) -> Case:
    model = torchvision_vit()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("heads.")}
    state = below("backbone.vit.", state) | {
        "backbone.mask_token": torch.zeros(1, 1, WIDTH),
        "decoder.mask_token": torch.zeros(1, 1, 16),
        "decoder.decoder_embed.weight": torch.randn(16, WIDTH),
        "decoder.decoder_blocks.0.norm1.weight": torch.randn(16),
    }
    content = {"state_dict": state, "epoch": 1, "pytorch-lightning_version": "2.0"}
    content |= {"optimizer_states": [{"state": {}}], "lr_schedulers": []}
    return saved(tmp / "last.ckpt", content, features=torchvision_features(model))


def lightly_dino(tmp: Path) -> Case:
    model = timm_vit()
    state = below("teacher_backbone.vit.", model.state_dict())
    state |= below("student_backbone.vit.", noise(model.state_dict()))
    state |= {f"{who}_head.layers.0.weight": torch.randn(4, 4) for who in ("teacher", "student")}
    return saved(tmp / "m.ckpt", {"state_dict": state}, features=model.forward_features)


def mmseg_features(model: nn.Module) -> Features:
    """Return the patches alone: mmsegmentation gives them as an image, without the cls token."""
    return lambda images: model(images)[-1].flatten(2).transpose(1, 2)


def mmseg(tmp: Path) -> Case:
    model = mmseg_backbone("MAE", init_values=1.0)
    state = below("backbone.", model.state_dict()) | {
        "neck.ups.0.weight": torch.randn(2, 2),
        "decode_head.conv_seg.weight": torch.randn(3, 8, 1, 1),
        "auxiliary_head.conv_seg.bias": torch.randn(3),
    }
    content = {"state_dict": state, "meta": {"iter": 3}, "message_hub": {"log": [1.0]}}
    return saved(tmp / "iter_3.pth", content, ImportOptions(), mmseg_features(model))


def mmseg_vit(tmp: Path) -> Case:
    model = mmseg_backbone("VisionTransformer", final_norm=True, patch_bias=True)
    state = below("backbone.", model.state_dict())
    return saved(tmp / "m.pth", {"state_dict": state}, features=mmseg_features(model))


MMPRETRAIN = {
    "norm1": "ln1",
    "norm2": "ln2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
    "ls1.gamma": "attn.gamma1.weight",
    "ls2.gamma": "ffn.gamma2.weight",
    "patch_embed.proj.": "patch_embed.projection.",
    "blocks.": "layers.",
}


def mmpretrain(tmp: Path) -> Case:
    """Return timm's ViT under the names of mmpretrain's VisionTransformer (0.x and 1.x)."""
    model = timm_vit(init_values=0.1)
    state = {}
    for name, tensor in model.state_dict().items():
        new = name if not name.startswith("norm.") else name.replace("norm.", "ln1.")
        for ours, theirs in MMPRETRAIN.items():
            new = new.replace(ours, theirs) if not name.startswith("norm.") else new
        state["backbone." + new] = tensor
    state |= {"neck.decoder_embed.weight": torch.randn(8, WIDTH), "neck.mask_token": torch.ones(2)}
    content = {"state_dict": state, "meta": {"epoch": 1}}
    return saved(tmp / "epoch_1.pth", content, features=model.forward_features)


def detectron2_features(model: nn.Module) -> Features:
    return lambda images: model(images)["last_feat"].flatten(2).transpose(1, 2)


def detectron2(tmp: Path) -> Case:
    model = detectron2_vit()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".rel_pos_" in name:
                parameter.zero_()
    state = below("backbone.net.", model.state_dict()) | {
        "backbone.simfp_2.0.weight": torch.randn(3, 3),
        "proposal_generator.rpn_head.conv.weight": torch.randn(3, 3),
        "roi_heads.box_head.fc1.weight": torch.randn(3, 3),
    }
    return saved(tmp / "model_final.pth", {"model": state}, features=detectron2_features(model))


BUILDERS = {
    "torchvision": torchvision,
    "lightly mae": lightly_mae,
    "lightly dino": lightly_dino,
    "mmseg mae": mmseg,
    "mmseg vit": mmseg_vit,
    "mmpretrain": mmpretrain,
    "detectron2": detectron2,
    "hf vit": partial(transformers_model, kind="ViTModel", config="ViTConfig"),
    "hf vit, no qkv bias": partial(
        transformers_model, kind="ViTModel", config="ViTConfig", qkv_bias=False
    ),
    "hf vit classifier": partial(
        transformers_model, kind="ViTForImageClassification", config="ViTConfig"
    ),
    "hf vit_mae": partial(
        transformers_model,
        kind="ViTMAEForPreTraining",
        config="ViTMAEConfig",
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    ),
    "hf dinov2": partial(transformers_model, kind="Dinov2Model", config="Dinov2Config"),
    "hf dinov2 with registers": partial(
        transformers_model,
        kind="Dinov2WithRegistersForImageClassification",
        config="Dinov2WithRegistersConfig",
    ),
    "hf beit": partial(
        transformers_model,
        kind="BeitForImageClassification",
        config="BeitConfig",
        use_relative_position_bias=True,
    ),
    "hf beit, pretrained": partial(
        transformers_model,
        kind="BeitForMaskedImageModeling",
        config="BeitConfig",
        vocab_size=11,
        use_mask_token=True,
        use_shared_relative_position_bias=True,
        use_absolute_position_embeddings=True,
    ),
}
