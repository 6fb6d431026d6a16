"""The names of all recipes, as strings: nothing is imported until a recipe is asked for."""

import importlib
from typing import cast

from mae_bench.core.recipe import Recipe, unknown

OBJECTIVES: dict[str, str] = {
    "mae": "pretrain.mae:MAE",
    "supervised": "pretrain.supervised:Supervised",
    "moco_v3": "pretrain.moco_v3:MoCoV3",
    "simsiam": "pretrain.simsiam:SimSiam",
    "simclr": "pretrain.simclr:SimCLR",
    "byol": "pretrain.byol:BYOL",
    "moco_v2": "pretrain.moco_v2:MoCoV2",
    "random_init": "pretrain.random_init:RandomInit",
}
TASKS: dict[str, str] = {
    "imagenet_finetune": "transfer.imagenet_finetune:ImagenetFinetune",
    "imagenet_linear": "transfer.imagenet_linear:ImagenetLinear",
    "imagenet_knn": "transfer.imagenet_knn:ImagenetKnn",
    "imagenet_lowshot": "transfer.imagenet_lowshot:ImagenetLowshot",
    "imagenet_partial": "transfer.imagenet_partial:ImagenetPartial",
    "imagenet_robustness": "transfer.imagenet_robustness:ImagenetRobustness",
    "coco_vitdet": "transfer.coco_vitdet:CocoVitDet",
    "coco_maskrcnn_fpn": "transfer.coco_maskrcnn_fpn:CocoMaskRcnnFpn",
    "voc_detection": "transfer.voc_detection:VocDetection",
    "ade20k_upernet": "transfer.ade20k_upernet:Ade20kUperNet",
    "voc_classification": "transfer.voc_classification:VocClassification",
    "voc_segmentation": "transfer.voc_segmentation:VocSegmentation",
}


def load(name: str) -> type[Recipe]:
    """Return the recipe class of that name; ValueError with the nearest name if there is none."""
    known = OBJECTIVES | TASKS
    if name not in known:
        raise ValueError(unknown("recipe", name, known))
    module, _, cls = known[name].partition(":")
    return cast(type[Recipe], getattr(importlib.import_module(module), cls))
