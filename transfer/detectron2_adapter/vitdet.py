"""detectron2's own ViTDet model, shaped by a recipe."""

from typing import TYPE_CHECKING, Any

from detectron2 import model_zoo

from mae_bench.kit.encoder import Encoder
from transfer.detectron2_adapter.model import set_heads, set_levels, window_blocks

if TYPE_CHECKING:
    from transfer.coco_vitdet import CocoVitDet


def model_config(recipe: "CocoVitDet", encoder: Encoder, num_classes: int) -> Any:
    """Return the lazy config of detectron2's own ViTDet model with the recipe's values in it."""
    model: Any = model_zoo.get_config("common/models/mask_rcnn_vitdet.py").model
    spec, stride = encoder.spec, encoder.spec.patch_size
    net = model.backbone.net
    net.img_size, net.patch_size = recipe.image_size, stride
    net.embed_dim, net.depth, net.num_heads = spec.width, spec.depth, spec.heads
    net.drop_path_rate, net.window_size = recipe.drop_path, recipe.window_size
    net.window_block_indexes = window_blocks(spec.depth) if recipe.window_size else []
    net.pretrain_img_size = spec.image_size
    if not spec.class_token:
        net.pretrain_use_cls_token = False
    model.pixel_mean, model.pixel_std = (
        [round(255 * v, 3) for v in values] for values in spec.pixels
    )
    backbone = model.backbone
    backbone.out_channels, backbone.square_pad = recipe.pyramid_width, recipe.image_size
    backbone.scale_factors = list(recipe.pyramid_scales)
    set_levels(model, [int(stride / scale) for scale in recipe.pyramid_scales])
    set_heads(model, recipe, num_classes)
    return model
