"""How many images of a segmenter's batch fit into one forward pass."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from mae_bench.kit.keeper import Keeper
from mae_bench.kit.parallel import fitting_micro_batch
from mae_bench.kit.split import Split, share_of, split_batch
from transfer.mmseg_adapter.rules import require_rows

if TYPE_CHECKING:
    from transfer.mmseg_adapter.training import Training


def chosen_split(segmenter: nn.Module, training: "Training", keeper: Keeper) -> Split:
    """Return this rank's part of each batch, by the setting or by trying what fits.

    Raises ValueError if BatchNorm would see a single image.
    """
    recipe, machine = training.recipe, training.machine
    size, world = recipe.batch_size, machine.ranks.world
    micro, before = machine.compute.micro_batch, keeper.extra.get("split")
    if micro == "auto" and before is not None and before[0] == world:
        micro = before[1]  # BatchNorm and dropout depend on it: a resumed run goes on as it began
    if micro == "auto":
        micro = fitting_micro_batch(
            segmenter,
            share_of(size, world),
            machine.ranks,
            lambda number: attempt(segmenter, training, number),
        )
    require_rows(recipe, micro * world)
    return split_batch(size, machine.ranks.rank, world, micro)


def attempt(segmenter: nn.Module, training: "Training", micro: int) -> None:
    """Run forward and backward on made-up images and leave no trace.

    Two at least, since it comes before BatchNorm reaches over the ranks.
    """
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    side, device = training.recipe.crop_size, training.machine.ranks.device
    kept = {name: buffer.clone() for name, buffer in segmenter.named_buffers()}
    labels = PixelData(data=torch.zeros(1, side, side, dtype=torch.long, device=device))
    samples = [SegDataSample(gt_sem_seg=labels) for _ in range(max(2, micro))]
    images = torch.zeros(len(samples), 3, side, side, device=device)
    half = training.dtype != torch.float32
    try:
        with torch.autocast(device.type, training.dtype if half else None, enabled=half):
            losses = segmenter.train()(images, samples, mode="loss")
        segmenter.parse_losses(losses)[0].backward()
    finally:
        segmenter.zero_grad(set_to_none=True)
        for name, buffer in segmenter.named_buffers():
            buffer.copy_(kept[name])
