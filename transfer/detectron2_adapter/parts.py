"""How many images of a detector's batch fit into one forward pass, and what follows from it."""

from typing import TYPE_CHECKING, Any

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mae_bench.kit.keeper import Keeper
from mae_bench.kit.machine import Machine
from mae_bench.kit.parallel import fitting_micro_batch
from mae_bench.kit.split import Split, share_of, split_batch

if TYPE_CHECKING:
    from transfer.detection import DetectionRecipe

OBJECTS = 30
"""Objects in each image of a trial: few of COCO's have more."""


def chosen_split(
    recipe: "DetectionRecipe", detector: nn.Module, keeper: Keeper, machine: Machine
) -> Split:
    """Return this rank's part of each batch, by the setting or by trying what fits."""
    size, ranks = recipe.batch_size, machine.ranks
    micro, before = machine.compute.micro_batch, keeper.extra.get("split")
    share = share_of(size, ranks.world)
    if micro == "auto" and before is not None and before[0] == ranks.world:
        micro = before[1]  # some draws depend on it: a resumed run goes on as it began
    if micro == "auto":
        micro = fitting_micro_batch(
            detector, share, ranks, lambda tried: attempt(detector, recipe, tried, machine)
        )
    return split_batch(size, ranks.rank, ranks.world, micro)


def attempt(detector: nn.Module, recipe: "DetectionRecipe", micro: int, machine: Machine) -> None:
    """Run forward and backward on made-up images full of objects, and leave no trace."""
    dtype, device = machine.dtype, machine.ranks.device
    kept = {name: buffer.clone() for name, buffer in detector.named_buffers()}
    training, half = detector.training, dtype != torch.float32
    detector.train()
    for module in detector.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # over ranks it would wait for one whose memory was too small
    try:
        with EventStorage(), torch.autocast(device.type, dtype if half else None, enabled=half):
            losses = detector([_image(recipe, detector) for _ in range(micro)])
        sum(losses.values()).backward()
    finally:
        detector.train(training)
        detector.zero_grad(set_to_none=True)
        for name, buffer in detector.named_buffers():
            buffer.copy_(kept[name])


def _image(recipe: "DetectionRecipe", detector: nn.Module) -> dict[str, Any]:
    """Return a training image of the full size, with objects in a row of overlapping boxes."""
    side = recipe.image_size
    left = torch.linspace(0, side / 2, OBJECTS)
    boxes = torch.stack([left, left / 2, left + side / 3, left / 2 + side / 3], dim=1)
    objects = Instances((side, side))
    objects.gt_boxes = Boxes(boxes)
    objects.gt_classes = torch.zeros(OBJECTS, dtype=torch.long)
    if detector.roi_heads.mask_on:
        objects.gt_masks = BitMasks(torch.ones(OBJECTS, side, side, dtype=torch.bool))
    return {"image": torch.zeros(3, side, side, dtype=torch.uint8), "instances": objects}
