"""mmsegmentation's UperNet on its MAE backbone, shaped by a recipe and filled with an encoder."""

import importlib
import logging
import sys
import types
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mae_bench.kit.encoder import Encoder, load_exactly

if TYPE_CHECKING:
    from transfer.ade20k_upernet import Ade20kUperNet

RENAMED = {
    "norm1": "ln1",
    "norm2": "ln2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}
"""Canonical names inside a block -> the MAE backbone's."""
DROPPED = ("norm.",)
"""The MAE backbone is used without a final norm, as in mmsegmentation's config."""
IGNORED = 255


class AbsentOps(types.ModuleType):
    """Stands for mmcv's compiled operators, which mmcv-lite lacks and UperNet does not call."""

    def __getattr__(self, name: str) -> Any:
        """Return a callable that explains itself when called."""
        if name.startswith("__"):
            raise AttributeError(name)

        def absent(*args: Any, **kwargs: Any) -> None:
            raise ImportError(f"mmcv.ops.{name} needs the full mmcv; pip install 'mmcv>=2.0,<2.2'")

        return absent


def import_mmseg() -> types.ModuleType:
    """Return mmseg, with its compiled operators replaced by AbsentOps where they are missing."""
    try:
        importlib.import_module("mmcv.ops")
    except ImportError:
        sys.modules["mmcv.ops"] = AbsentOps("mmcv.ops")
    from mmengine.logging import MMLogger
    from mmseg.utils import register_all_modules

    register_all_modules(init_default_scope=True)
    MMLogger.get_current_instance().setLevel(logging.WARNING)  # it would list every tensor
    return importlib.import_module("mmseg")


def model_config(recipe: "Ade20kUperNet", encoder: Encoder, num_classes: int) -> dict[str, Any]:
    """Return the EncoderDecoder's config as mmengine reads it."""
    width = encoder.spec.width
    norm = {"type": "SyncBN" if _distributed() else "BN", "requires_grad": True}
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    head = {
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
        "dropout_ratio": 0.1,
    }
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [255 * value for value in encoder.spec.mean],
            "std": [255 * value for value in encoder.spec.std],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": IGNORED,
            "size": (recipe.crop_size, recipe.crop_size),
        },
        "backbone": _backbone(recipe, encoder),
        "neck": {
            "type": "Feature2Pyramid",
            "embed_dim": width,
            "rescales": [4, 2, 1, 0.5],
            "norm_cfg": norm,
        },
        "decode_head": head
        | {
            "type": "UPerHead",
            "in_channels": [width] * 4,
            "in_index": [0, 1, 2, 3],
            "pool_scales": (1, 2, 3, 6),
            "channels": recipe.head_width,
            "loss_decode": loss | {"loss_weight": 1.0},
        },
        "auxiliary_head": head
        | {
            "type": "FCNHead",
            "in_channels": width,
            "in_index": 2,
            "channels": recipe.auxiliary_width,
            "num_convs": 1,
            "concat_input": False,
            "loss_decode": loss | {"loss_weight": recipe.auxiliary_weight},
        },
        "train_cfg": {},
        "test_cfg": {
            "mode": "slide",
            "crop_size": (recipe.crop_size, recipe.crop_size),
            "stride": (recipe.stride, recipe.stride),
        },
    }


def build_segmenter(config: dict[str, Any], encoder: Encoder) -> nn.Module:
    """Return the segmenter with exactly the encoder's weights in its backbone."""
    import_mmseg()
    from mmengine.config import ConfigDict
    from mmseg.registry import MODELS

    model: nn.Module = MODELS.build(ConfigDict(config))
    model.init_weights()  # before the weights: the runner would otherwise overwrite them
    backbone = model.backbone
    load_exactly(backbone, backbone_state(encoder), new_tensors(encoder))
    return model


def backbone_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return the encoder's tensors under the MAE backbone's names."""
    return {_renamed(n): t for n, t in encoder.state.items() if not n.startswith(DROPPED)}


def new_tensors(encoder: Encoder) -> tuple[str, ...]:
    """Return what the backbone has beyond the encoder: relative positions and unit scales.

    The relative bias starts at zero and the scales at one, so the backbone computes the ViT.
    """
    parts = ("attn.relative_position_", "gamma_1", "gamma_2")
    return tuple(f"layers.{i}.{part}" for i in range(encoder.spec.depth) for part in parts)


def parameter_groups(model: nn.Module, recipe: "Ade20kUperNet", depth: int) -> list[dict[str, Any]]:
    """Return groups with their learning rate `lr` and decay; position and cls do not decay.

    mmsegmentation's own constructor compares whole names with 'pos_embed' and 'cls_token', and so
    decays `backbone.pos_embed`; here they are compared inside the backbone.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        layer = segmenter_layer(name, depth)
        inner = name.removeprefix("backbone.")
        decays = parameter.ndim > 1 and inner not in ("pos_embed", "cls_token")
        rate = recipe.lr * recipe.layer_decay ** (depth + 1 - layer)
        empty = {
            "params": [],
            "names": [],
            "lr": rate,
            "initial_lr": rate,
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        group = groups.setdefault((layer, decays), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def segmenter_layer(name: str, depth: int) -> int:
    """Return 0 for the embeddings, i+1 for block i, depth+1 for neck and heads.

    Raises ValueError for a backbone parameter that is neither.
    """
    if not name.startswith("backbone."):
        return depth + 1
    first, *rest = name.removeprefix("backbone.").split(".")
    if first in ("cls_token", "pos_embed", "patch_embed"):
        return 0
    if first == "layers" and 0 <= int(rest[0]) < depth:
        return int(rest[0]) + 1
    raise ValueError(f"no layer for the segmenter's parameter {name!r}")


def lr_factor(recipe: "Ade20kUperNet", iteration: int) -> float:
    """Return the factor of the learning rate: linear warm-up from 1e-6, then linearly to 0."""
    if iteration < recipe.warmup_iterations:
        done = iteration / recipe.warmup_iterations
        return 1e-6 * (1 - done) + done
    rest = recipe.iterations - recipe.warmup_iterations
    return 1.0 - (iteration - recipe.warmup_iterations) / rest


def _backbone(recipe: "Ade20kUperNet", encoder: Encoder) -> dict[str, Any]:
    """Return the config of mmsegmentation's MAE backbone for that encoder.

    The encoder is at the crop's size, and plain (see kit/fit.py).
    """
    spec = encoder.spec
    if not spec.class_token:
        raise ValueError("mmsegmentation's MAE backbone has a cls token, and the encoder has none")
    if recipe.taps[-1] >= spec.depth:
        raise ValueError(
            f"ade20k_upernet.taps must be below the encoder's depth {spec.depth}, got {recipe.taps}"
        )
    return {
        "type": "MAE",
        "img_size": spec.image_size,
        "patch_size": spec.patch_size,
        "embed_dims": spec.width,
        "num_layers": spec.depth,
        "num_heads": spec.heads,
        "mlp_ratio": 4,
        "init_values": 1.0,
        "drop_path_rate": recipe.drop_path,
        "out_indices": list(recipe.taps),
        "norm_cfg": {"type": "LN", "eps": spec.norm_eps},
        "final_norm": False,
    }


def _renamed(name: str) -> str:
    """Return a canonical name as the MAE backbone has it."""
    if name.startswith("patch_embed.proj."):
        return name.replace("patch_embed.proj.", "patch_embed.projection.")
    if not name.startswith("blocks."):
        return name
    _, block, rest = name.split(".", 2)
    for ours, theirs in RENAMED.items():
        if rest.startswith(ours + "."):
            rest = theirs + rest[len(ours) :]
    return f"layers.{block}.{rest}"


def _distributed() -> bool:
    """Return whether more than one process trains, which SyncBN needs."""
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    return ready and torch.distributed.get_world_size() > 1
