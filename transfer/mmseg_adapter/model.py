"""mmsegmentation's UperNet on its MAE backbone, shaped by a recipe and filled with an encoder."""

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mae_bench.kit.encoder import Encoder, load_exactly
from mae_bench.kit.fit import at_image_size, for_toolbox
from transfer.mmseg_adapter.toolbox import import_mmseg

if TYPE_CHECKING:
    from transfer.segmentation import SegmentationRecipe

RENAMED = {
    "norm1": "ln1",
    "norm2": "ln2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}
"""Canonical names inside a block -> the MAE backbone's."""
DROPPED = ("norm.",)
"""The MAE backbone is used without a final norm, as in mmsegmentation's config."""
SYNCED = {"type": "SyncBN", "requires_grad": True}


def fitted(encoder: Encoder, recipe: "SegmentationRecipe") -> Encoder:
    """Return the encoder as the MAE backbone can hold it, at the crop's size.

    Raises ValueError for registers, without a cls token, and if it is not as deep as the taps.
    """
    plain = for_toolbox(encoder, "mmsegmentation's MAE backbone", relative_positions="kept")
    if not plain.spec.class_token:
        raise ValueError("mmsegmentation's MAE backbone has a cls token, and the encoder has none")
    if recipe.taps[-1] >= plain.spec.depth:
        raise ValueError(
            f"{recipe.name}.taps must be below the encoder's depth {plain.spec.depth}, "
            f"got {recipe.taps}"
        )
    return at_image_size(plain, recipe.crop_size)


def model_config(
    recipe: "SegmentationRecipe", encoder: Encoder, num_classes: int
) -> dict[str, Any]:
    """Return the EncoderDecoder's config as mmengine reads it; the encoder is a fitted one."""
    width, crop = encoder.spec.width, (recipe.crop_size, recipe.crop_size)
    ignored = ignored_index(num_classes)
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [round(255 * value, 3) for value in encoder.spec.mean],
            "std": [round(255 * value, 3) for value in encoder.spec.std],
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": ignored,
            "size": crop,
            "test_cfg": {"size": crop},  # positions fit no image that is narrower than the window
        },
        "backbone": _backbone(recipe, encoder),
        "neck": {"type": "Feature2Pyramid", "embed_dim": width, "rescales": [4, 2, 1, 0.5]},
        "decode_head": _head(recipe, num_classes, 1.0)
        | {
            "type": "UPerHead",
            "in_channels": [width] * 4,
            "in_index": [0, 1, 2, 3],
            "pool_scales": (1, 2, 3, 6),
            "channels": recipe.head_width,
        },
        "auxiliary_head": _head(recipe, num_classes, recipe.auxiliary_weight)
        | {
            "type": "FCNHead",
            "in_channels": width,
            "in_index": 2,
            "channels": recipe.auxiliary_width,
            "num_convs": 1,
            "concat_input": False,
        },
        "train_cfg": {},
        "test_cfg": {
            "mode": "slide",
            "crop_size": crop,
            "stride": (recipe.stride, recipe.stride),
        },
    }


def ignored_index(num_classes: int) -> int:
    """Return the label in memory of pixels that count for nothing: beyond every class."""
    return 255 if num_classes <= 255 else 65535


def build_segmenter(config: dict[str, Any], encoder: Encoder) -> nn.Module:
    """Return the segmenter with exactly the encoder's weights in its backbone.

    Its BatchNorm is that of one process (see kit/batch_norm.py), its attention is fused. Blocks
    after the last tap do not train: nothing depends on them.
    """
    import_mmseg()
    from mmengine.config import ConfigDict
    from mmseg.registry import MODELS

    from transfer.mmseg_adapter.attention import fuse

    alone = copy.deepcopy(config)
    for part in ("neck", "decode_head", "auxiliary_head"):
        alone[part]["norm_cfg"] = SYNCED | {"type": "BN"}
    model: nn.Module = MODELS.build(ConfigDict(alone))
    model.init_weights()  # before the weights: the runner would otherwise overwrite them
    load_exactly(model.backbone, backbone_state(encoder), new_tensors(encoder))
    fuse(model.backbone)
    model.backbone.layers[config["backbone"]["out_indices"][-1] + 1 :].requires_grad_(False)
    return model


def backbone_state(encoder: Encoder) -> dict[str, Tensor]:
    """Return the encoder's tensors under the MAE backbone's names."""
    return {_renamed(n): t for n, t in encoder.state.items() if not n.startswith(DROPPED)}


def new_tensors(encoder: Encoder) -> tuple[str, ...]:
    """Return what the backbone has beyond the encoder: unit scales, and relative positions.

    The relative bias starts at zero and the scales at one, so the backbone computes the ViT. Its
    index of offsets is computed; the table of an encoder that has one is loaded.
    """
    table = "index" if encoder.spec.relative_positions else ""
    parts = (f"attn.relative_position_{table}", "gamma_1", "gamma_2")
    return tuple(f"layers.{i}.{part}" for i in range(encoder.spec.depth) for part in parts)


def _head(recipe: "SegmentationRecipe", num_classes: int, weight: float) -> dict[str, Any]:
    """Return what the configs of the two heads share."""
    ignored = ignored_index(num_classes)
    return {
        "num_classes": num_classes,
        "norm_cfg": SYNCED,
        "align_corners": False,
        "dropout_ratio": recipe.head_dropout,
        "loss_decode": {
            "type": "CrossEntropyLoss",
            "use_sigmoid": False,
            "loss_weight": weight,
        },
        **({"ignore_index": ignored} if ignored != 255 else {}),
    }


def _backbone(recipe: "SegmentationRecipe", encoder: Encoder) -> dict[str, Any]:
    """Return the config of mmsegmentation's MAE backbone for that encoder."""
    spec = encoder.spec
    return {
        "type": "MAE",
        "img_size": (spec.image_size, spec.image_size),
        "patch_size": spec.patch_size,
        "in_channels": 3,
        "embed_dims": spec.width,
        "num_layers": spec.depth,
        "num_heads": spec.heads,
        "mlp_ratio": 4,
        "init_values": 1.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": recipe.drop_path,
        "out_indices": list(recipe.taps),
        "norm_cfg": {"type": "LN", "eps": spec.norm_eps},
        "act_cfg": {"type": "GELU"},
        "norm_eval": False,
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
