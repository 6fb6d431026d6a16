"""The small networks behind an encoder that siamese objectives train beside it."""

import itertools
from typing import Literal

from torch import nn


def mlp(
    sizes: tuple[int, ...],
    norm: Literal["none", "hidden", "all"],
    end: Literal["biased", "unbiased"] = "biased",
) -> nn.Sequential:
    """Return linear layers from size to size with ReLU between them.

    BatchNorm follows no layer, all but the last, or all; the last one's has no affine parameters.
    A layer has a bias unless BatchNorm takes it away; BYOL's last layer has none either. As in the
    authors' code of MoCo v2 and v3, SimSiam and BYOL.
    """
    last = len(sizes) - 2
    layers: list[nn.Module] = []
    for index, (width, out) in enumerate(itertools.pairwise(sizes)):
        normed = norm == "all" or (norm == "hidden" and index < last)
        biased = not normed and (index < last or end == "biased")
        layers.append(nn.Linear(width, out, bias=biased))
        if normed:
            layers.append(nn.BatchNorm1d(out, affine=index < last))
        if index < last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
