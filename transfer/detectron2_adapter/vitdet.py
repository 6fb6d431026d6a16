"""detectron2's own ViTDet model, shaped by a recipe."""

from typing import TYPE_CHECKING, Any

from mae_bench.kit.encoder import Encoder
from transfer.detectron2_adapter.attention import FusedViT
from transfer.detectron2_adapter.model import set_heads, set_levels, set_mask_head, vitdet_config

if TYPE_CHECKING:
    from transfer.coco_vitdet import CocoVitDet
    from transfer.voc_detection import VocDetection


def model_config(recipe: "CocoVitDet", encoder: Encoder, num_classes: int) -> Any:
    """Return the lazy config of detectron2's own ViTDet model with the recipe's values in it."""
    model = pyramid_config(recipe, encoder, num_classes)
    set_mask_head(model, recipe.pyramid_width, recipe.mask_convs)
    return model


def pyramid_config(recipe: "CocoVitDet | VocDetection", encoder: Encoder, num_classes: int) -> Any:
    """Return the same with a mask head that is still detectron2's."""
    model = vitdet_config(recipe, encoder)
    backbone, stride = model.backbone, encoder.spec.patch_size
    backbone.net._target_ = FusedViT
    backbone.net.use_rel_pos = recipe.relative_positions
    backbone.out_channels, backbone.square_pad = recipe.pyramid_width, recipe.image_size
    backbone.scale_factors = list(recipe.pyramid_scales)
    set_levels(model, [int(stride / scale) for scale in recipe.pyramid_scales])
    set_heads(model, recipe, num_classes)
    return model
