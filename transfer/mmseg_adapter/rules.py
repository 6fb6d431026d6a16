"""What the optimiser does with each parameter: learning rate, decay, arithmetic."""

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mae_bench.kit.machine import Machine

if TYPE_CHECKING:
    from transfer.segmentation import SegmentationRecipe

log = logging.getLogger(__name__)

POSITIONS = ("pos_embed", "cls_token")
BETAS = (0.9, 0.999)


def parameter_groups(
    model: nn.Module, recipe: "SegmentationRecipe", depth: int
) -> list[dict[str, Any]]:
    """Return groups with their learning rate `lr` and decay; position and cls do not decay.

    mmsegmentation's own constructor compares whole names with 'pos_embed' and 'cls_token', and so
    decays `backbone.pos_embed`; here they are compared inside the backbone, unless the recipe's
    rules are mmsegmentation's.
    """
    kept = POSITIONS if recipe.training_rules == "mended" else ()
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = segmenter_layer(name, depth)
        decays = parameter.ndim > 1 and name.removeprefix("backbone.") not in kept
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


def training_dtype(recipe: "SegmentationRecipe", machine: Machine) -> torch.dtype:
    """Return the type of the matrix products in training.

    Raises ValueError for settings of the machine that a segmenter cannot follow.
    """
    compute, cuda = machine.compute, machine.ranks.device.type == "cuda"
    if compute.compile == "on":
        raise ValueError(f"{recipe.name} runs in mmengine, uncompiled; leave out --compile on")
    if compute.shard == "fsdp":
        raise ValueError(f"{recipe.name} has a whole copy on each GPU; leave out --shard fsdp")
    if recipe.training_rules == "mmsegmentation":
        if compute.precision not in ("auto", "fp32"):
            raise ValueError(
                f"{recipe.name}.training_rules mmsegmentation trains in fp32, and precision is "
                f"{compute.precision}; leave out one of them"
            )
        return torch.float32
    if machine.dtype == torch.float16 and not cuda:
        raise ValueError(f"{recipe.name} has fp16 on GPUs alone; use --precision bf16 or fp32")
    return machine.dtype


def require_rows(recipe: "SegmentationRecipe", rows: int) -> None:
    """Raise ValueError unless the heads' BatchNorm sees at least two images over all ranks.

    UPerHead pools each image to 1x1, where one image has no variance.
    """
    if rows < 2:
        raise ValueError(
            f"{recipe.name} needs at least 2 images in a forward pass over all processes, since "
            "BatchNorm follows a pooling to one pixel, got 1; raise --micro-batch or --gpus"
        )
