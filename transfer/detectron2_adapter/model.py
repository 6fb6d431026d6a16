"""What the R-CNN models share: levels, heads, parameter groups, an encoder's weights."""

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from detectron2 import model_zoo
from detectron2.config import instantiate
from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
from detectron2.solver.build import get_default_optimizer_params
from torch import nn

from mae_bench.kit.encoder import Encoder, load_exactly
from transfer.detectron2_adapter.proposals import GuardedRPN

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

ANCHOR_PER_STRIDE = 8
"""An anchor's side over its level's stride: 32 at stride 4, as in Mask R-CNN with FPN."""
DROPPED = ("cls_token", "norm.")
"""The detectors' ViT has neither a cls token nor a final norm."""
POSITIONS = ("rel_pos_", "relative_position_bias_table")
"""What a block's attention has that the encoder has not; both start at zero."""


def build_detector(config: Any, encoder: Encoder) -> nn.Module:
    """Return the detector with exactly the encoder's weights in its ViT.

    New are the pyramid, the heads and the relative positions, which start at zero.
    """
    detector: nn.Module = instantiate(config)
    # detectron2 fixes this to p5, which is the last level for patch 16 only.
    detector.backbone.top_block.in_feature = config.roi_heads.box_in_features[-1]
    vit = vit_of(detector)
    depth = range(encoder.spec.depth)
    new = tuple(f"blocks.{i}.attn.{name}" for i in depth for name in POSITIONS)
    load_exactly(vit, encoder.state, new=new, dropped=DROPPED)
    for module in vit.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = encoder.spec.norm_eps
    return detector


def vit_of(detector: nn.Module) -> nn.Module:
    """Return the ViT inside a detector of either pyramid."""
    backbone: Any = detector.backbone
    vit: nn.Module = getattr(backbone, "bottom_up", backbone).net
    return vit


def quarter_ends(depth: int) -> list[int]:
    """Return the last block of each quarter, counted from 0: 2, 5, 8, 11 of 12."""
    return sorted({depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4)} - {-1})


def window_blocks(depth: int) -> list[int]:
    """Return the blocks with local attention: all but the last of each quarter."""
    return [i for i in range(depth) if i not in quarter_ends(depth)]


def parameter_groups(
    detector: nn.Module, recipe: "DetectionRecipe", depth: int
) -> list[dict[str, Any]]:
    """Return detectron2's groups: layer decay over the ViT, none of it on pyramid and heads.

    `initial_lr` keeps each group's rate, which the schedule multiplies.
    """
    decay = partial(get_vit_lr_decay_rate, lr_decay_rate=recipe.layer_decay, num_layers=depth)
    everything = getattr(recipe, "decay_all", False)
    groups: list[dict[str, Any]] = get_default_optimizer_params(
        detector,
        base_lr=recipe.lr,
        weight_decay=recipe.weight_decay,
        weight_decay_norm=recipe.weight_decay if everything else 0.0,
        lr_factor_func=decay,
        overrides={} if everything else {"pos_embed": {"weight_decay": 0.0}},
    )
    for group in groups:
        group["initial_lr"] = group["lr"]
    return groups


def vitdet_config(recipe: "DetectionRecipe", encoder: Encoder) -> Any:
    """Return detectron2's lazy config of ViTDet with the ViT and the pixels of the encoder.

    Raises ValueError for images that its patches do not cover.
    """
    require_side(recipe, encoder.spec.patch_size)
    model: Any = model_zoo.get_config("common/models/mask_rcnn_vitdet.py").model
    spec, net = encoder.spec, model.backbone.net
    net.img_size, net.patch_size = recipe.image_size, spec.patch_size
    net.embed_dim, net.depth, net.num_heads = spec.width, spec.depth, spec.heads
    net.drop_path_rate, net.window_size = recipe.drop_path, recipe.window_size
    net.window_block_indexes = window_blocks(spec.depth) if recipe.window_size else []
    net.pretrain_img_size = spec.image_size
    model.proposal_generator._target_ = GuardedRPN
    if not spec.class_token:
        net.pretrain_use_cls_token = False
    model.pixel_mean, model.pixel_std = (
        [round(255 * v, 3) for v in values] for values in spec.pixels
    )
    return model


def require_side(recipe: "DetectionRecipe", unit: int) -> None:
    """Raise ValueError with the nearest sides unless images are whole multiples of `unit`.

    Of others the maps would lack the right and bottom strip, or not fit each other.
    """
    side = recipe.image_size
    if side % unit:
        below = max(side // unit, 1) * unit
        above = -(-side // unit) * unit
        near = f"{above}" if above == below else f"{below} or {above}"
        raise ValueError(
            f"{recipe.name}.image_size must be a multiple of {unit} pixels with this encoder, "
            f"got {side}; use {near}"
        )


def set_levels(model: Any, strides: list[int]) -> None:
    """Name the pyramid's levels by their strides, as detectron2 does, wherever they are used."""
    names = [f"p{int(math.log2(stride))}" for stride in strides]
    top = strides[-1] * 2
    proposals = model.proposal_generator
    proposals.in_features = [*names, f"p{int(math.log2(top))}"]
    proposals.anchor_generator.strides = [*strides, top]
    proposals.anchor_generator.sizes = [[ANCHOR_PER_STRIDE * s] for s in (*strides, top)]
    heads = model.roi_heads
    heads.box_in_features = heads.mask_in_features = names
    heads.box_pooler.scales = heads.mask_pooler.scales = [1.0 / stride for stride in strides]


def set_heads(model: Any, recipe: "DetectionRecipe", num_classes: int) -> None:
    """Set widths, depths and sample counts of the proposal network and the box head."""
    width = recipe.pyramid_width
    proposals, heads = model.proposal_generator, model.roi_heads
    proposals.head.in_channels = width
    proposals.batch_size_per_image = recipe.rpn_samples
    proposals.pre_nms_topk = (2 * recipe.rpn_proposals, recipe.rpn_proposals)
    proposals.post_nms_topk = (recipe.rpn_proposals, recipe.rpn_proposals)
    heads.num_classes, heads.batch_size_per_image = num_classes, recipe.roi_samples
    heads.box_head.input_shape.channels = width
    heads.box_head.conv_dims = [width] * recipe.box_convs
    heads.box_head.fc_dims = [recipe.box_width]
    heads.box_predictor.input_shape.channels = recipe.box_width
    heads.box_predictor.test_topk_per_image = recipe.detections_per_image


def set_mask_head(model: Any, width: int, num_convs: int) -> None:
    """Set the mask head's width and number of convolutions before its deconvolution."""
    model.roi_heads.mask_head.input_shape.channels = width
    model.roi_heads.mask_head.conv_dims = [width] * (num_convs + 1)
