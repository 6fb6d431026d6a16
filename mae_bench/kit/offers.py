"""What a module may offer the training loop beside its loss, and what it is told in return.

Beside the members of `Offers` the loop looks for three numbers:

- `chunk`, which it sets to the micro-batch. The module then gets a rank's whole share of the batch
  in one call, and sees to it by itself that no more images' activations are kept: for losses that
  are not sums over images.
- `parts`, which it sets to the forward passes of a step.
- `micro_multiple`, of which a micro-batch must be a multiple.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mae_bench.kit.split import Split


@dataclass(frozen=True)
class Offers:
    """A module's members of these names; where it has none, what does nothing."""

    noise: Callable[[int], Tensor | None]
    """Batch size -> what is drawn for a whole batch, on any device, a row for each image.

    Each part gets its rows in place of labels, so that draws do not depend on how the batch is
    divided; the generators are seeded by (seed, step) before."""
    before_step: Callable[[], None]
    """Called when the gradients of the whole batch are there."""
    after_step: Callable[[float], None]
    """Called after the optimiser's step, left out or not, with progress in (0, 1]: for weights that
    follow others."""
    signs: Callable[[], dict[str, float]]
    """What to log beside the loss."""
    num_crops: int
    """Crops of each image that it takes, [batch, crops, 3, side, side] where there are several."""
    training_flops: int | None
    """FLOPs of forward and backward pass for an image, for the utilisation."""


def offers(module: nn.Module) -> Offers:
    """Return what the module offers."""

    def nothing(*words: Any) -> None:
        """Do nothing."""

    return Offers(
        noise=getattr(module, "noise", nothing),
        before_step=getattr(module, "before_step", nothing),
        after_step=getattr(module, "after_step", nothing),
        signs=getattr(module, "signs", dict),
        num_crops=getattr(module, "num_crops", 1),
        training_flops=getattr(module, "training_flops", None),
    )


def divided(module: nn.Module, split: Split) -> Split:
    """Return the split to feed the module by, which is told of it by its `chunk` and `parts`."""
    if hasattr(module, "chunk"):
        module.chunk, split = split.micro, replace(split, micro=split.share)
    if hasattr(module, "parts"):
        module.parts = split.parts
    return split


def made_up(module: nn.Module, share: int, micro: int, side: int) -> tuple[Tensor, Tensor]:
    """Return black images, and labels or noise, with which the module can try a micro-batch.

    They are as many as it gets in one call: its rank's share if it has `chunk`.
    """
    whole = Split(share if hasattr(module, "chunk") else micro, rank=0, world=1, micro=micro)
    number, offered = divided(module, whole).micro, offers(module)
    device = next(module.parameters()).device
    crops = (offered.num_crops,) if offered.num_crops > 1 else ()
    images = torch.zeros(number, *crops, 3, side, side, dtype=torch.uint8, device=device)
    noise = offered.noise(number)
    labels = torch.zeros(number, dtype=torch.long, device=device)
    return images, labels if noise is None else noise
