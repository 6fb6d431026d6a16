"""The resolved configuration of a detector's run, from which its parts are made."""

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import LazyCall, LazyConfig, instantiate
from detectron2.data import transforms as T
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Optimizer

from mae_bench.core.files import commit
from mae_bench.core.recipe import fields_of
from mae_bench.kit.machine import Machine
from transfer.detectron2_adapter.model import parameter_groups
from transfer.detectron2_adapter.trainer import RecipeSchedule

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

CONFIG = "config.yaml"
FINAL = "model_final.pth"


@dataclass(frozen=True)
class Resolved:
    """A run as it was made of its recipe."""

    recipe: "DetectionRecipe"
    seed: int
    machine: Machine
    masks: bool
    """Whether the training objects have masks."""
    depth: int
    """Blocks of the encoder."""
    detector: nn.Module
    optimizer: Optimizer


def complete(model: Any, norm_eps: float) -> None:
    """Put into a model's config what is not at detectron2's values, so that it says everything.

    These are the ViT's norm epsilon, and the level that the coarsest one is made of: p5 for patch
    16 alone.
    """
    vit, last = getattr(model.backbone, "bottom_up", model.backbone).net, _last_level(model)
    vit.norm_layer = partial(nn.LayerNorm, eps=norm_eps)
    if last != "p5":
        model.backbone.top_block = LazyCall(max_pooled)(in_feature=last)


def _last_level(model: Any) -> str:
    """Return the coarsest level that the heads use."""
    return str(model.roi_heads.box_in_features[-1])


def max_pooled(in_feature: str) -> LastLevelMaxPool:
    """Return detectron2's block that makes one more level, of that one."""
    block = LastLevelMaxPool()
    block.in_feature = in_feature
    return block


def train_mapper_config(recipe: "DetectionRecipe", masks: bool) -> Any:
    """Return flip, large-scale jitter and crop, as in detectron2's coco_loader_lsj."""
    side = recipe.image_size
    return LazyCall(DatasetMapper)(
        is_train=True,
        augmentations=[
            LazyCall(T.RandomFlip)(horizontal=True),
            LazyCall(T.ResizeScale)(
                min_scale=recipe.scale_min,
                max_scale=recipe.scale_max,
                target_height=side,
                target_width=side,
            ),
            LazyCall(T.FixedSizeCrop)(crop_size=[side, side], pad=False),
        ],
        image_format="RGB",
        use_instance_mask=masks,
        instance_mask_format="bitmask",  # annotations may be polygons or run lengths
        recompute_boxes=masks,
    )


def eval_mapper_config(recipe: "DetectionRecipe") -> Any:
    """Return the resize to the square that the model then pads to."""
    side = recipe.image_size
    return LazyCall(DatasetMapper)(
        is_train=False,
        augmentations=[LazyCall(T.ResizeShortestEdge)(short_edge_length=side, max_size=side)],
        image_format="RGB",
    )


def train_mapper(recipe: "DetectionRecipe", masks: bool) -> DatasetMapper:
    """Return what augments a training image."""
    return instantiate(train_mapper_config(recipe, masks))


def eval_mapper(recipe: "DetectionRecipe") -> DatasetMapper:
    """Return what resizes a test image."""
    return instantiate(eval_mapper_config(recipe))


def save_config(out: Path, model: Any, run: Resolved) -> None:
    """Write config.yaml, resolved: model, optimizer, learning rate, data and training.

    The model, the mappers and the schedule can be instantiated as they are; the optimizer once
    `optimizer.params.detector` is set. `optimizer_groups` says what that gives each parameter.
    """
    recipe, names = run.recipe, {p: name for name, p in run.detector.named_parameters()}
    itself = {"_target_": f"{type(recipe).__module__}.{type(recipe).__qualname__}"}
    itself |= fields_of(recipe)
    whole = {
        "model": model,
        "optimizer": LazyCall(type(run.optimizer))(
            params=LazyCall(parameter_groups)(detector=None, recipe=itself, depth=run.depth),
            **{key: run.optimizer.defaults[key] for key in ("betas", "eps")},
        ),
        "optimizer_groups": [
            {
                "lr": group["initial_lr"],
                "weight_decay": group["weight_decay"],
                "params": [names[parameter] for parameter in group["params"]],
            }
            for group in run.optimizer.param_groups
        ],
        "lr_multiplier": LazyCall(RecipeSchedule)(recipe=itself),
        "dataloader": {
            "train": {
                "mapper": train_mapper_config(recipe, run.masks),
                "total_batch_size": recipe.batch_size,
            },
            "test": {"mapper": eval_mapper_config(recipe), "batch_size": 1},
        },
        "train": {
            "max_iter": recipe.iterations,
            "seed": run.seed,
            "amp": {"enabled": run.machine.dtype != torch.float32, "dtype": str(run.machine.dtype)},
            "world_size": run.machine.ranks.world,
        },
    }
    LazyConfig.save(OmegaConf.create(whole, flags={"allow_objects": True}), str(out / CONFIG))


def save_final(detector: nn.Module, out: Path) -> None:
    """Write model_final.pth by detectron2's own checkpointer, whole or not at all."""
    folder = out / "model_final.part"
    folder.mkdir(exist_ok=True)
    DetectionCheckpointer(detector, str(folder)).save(Path(FINAL).stem)
    with (folder / FINAL).open("rb") as stream:
        os.fsync(stream.fileno())
    commit(folder / FINAL, out / FINAL)
    shutil.rmtree(folder)
