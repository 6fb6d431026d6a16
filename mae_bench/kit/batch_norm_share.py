"""How many images BatchNorm saw at once over a whole run, however its attempts divided batches."""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mae_bench.kit.split import Split

FEWEST = "fewest_seen"
"""Key in what the keeper saves."""


def note_share(extra: dict[str, Any], split: Split) -> None:
    """Keep in what a run saves the fewest images of a forward pass over all ranks so far.

    To be called after a step and before each save, so that an attempt whose steps count counts.
    """
    extra[FEWEST] = min(extra.get(FEWEST, split.batch_size), split.micro * split.world)


def batch_norm_deviations(module: nn.Module, batch_size: int, extra: dict[str, Any]) -> list[str]:
    """Return in words that BatchNorm saw less than the recipe's batch, empty if it never did.

    Its statistics are those of one forward pass over all ranks; `extra` is what note_share filled.
    """
    seen = extra.get(FEWEST, batch_size)
    if seen >= batch_size or not any(isinstance(m, _BatchNorm) for m in module.modules()):
        return []
    return [f"BatchNorm over {seen} images, published {batch_size}"]
