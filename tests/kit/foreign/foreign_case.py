"""What encoders of other libraries are made of in the tests: random weights, small sizes."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mae_bench.kit.foreign.importing import ImportOptions

WIDTH, DEPTH, HEADS, PATCH, SIDE = 32, 2, 4, 8, 32
GIVEN = ImportOptions(heads=HEADS)
Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    path: Path
    features: Features
    """Images -> tokens after the final norm, by the library's own model."""
    options: ImportOptions = GIVEN


def randomise(model: nn.Module) -> nn.Module:
    """Return the model with no parameter at 0 or 1, which could hide that it did not arrive."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim < 2 else 0.15))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1.0)
            if "token" in name or "table" in name or "pos" in name:
                parameter.mul_(5.0)
    model.eval()  # whose value mmengine's models lack
    return model


def timm_vit(**settings) -> nn.Module:
    torch.manual_seed(0)
    base = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "num_classes": 0,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
    }
    return randomise(timm.models.vision_transformer.VisionTransformer(**(base | settings)))


def timm_beit(**settings) -> nn.Module:
    torch.manual_seed(0)
    base = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "num_classes": 0,
        "init_values": 0.1,
        "use_abs_pos_emb": False,
        "use_rel_pos_bias": True,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
    }
    return randomise(timm.models.beit.Beit(**(base | settings)))


def mmseg_backbone(kind: str, **settings) -> nn.Module:
    from transfer.mmseg_adapter.model import import_mmseg

    import_mmseg()
    from mmseg.models import backbones

    torch.manual_seed(0)
    model = getattr(backbones, kind)(
        img_size=(SIDE, SIDE),
        patch_size=PATCH,
        embed_dims=WIDTH,
        num_layers=DEPTH,
        num_heads=HEADS,
        out_indices=[DEPTH - 1],
        norm_cfg={"type": "LN", "eps": 1e-6},
        **settings,
    )
    return randomise(model)


def detectron2_vit(**settings) -> nn.Module:
    from detectron2.modeling.backbone.vit import ViT

    torch.manual_seed(0)
    base = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": WIDTH,
        "depth": DEPTH,
        "num_heads": HEADS,
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
        "use_rel_pos": True,
        "window_size": 0,
        "pretrain_img_size": SIDE,
    }
    return randomise(ViT(**(base | settings)))


def saved(path: Path, content, options: ImportOptions = GIVEN, features: Features | None = None):
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return Case(path, features, options)


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def noise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return another encoder, which must not be taken."""
    return {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in state.items()}


def transformers_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors under the names that transformers writes into files."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def write_config(folder: Path, **fields) -> None:
    path = folder / "config.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | fields))
