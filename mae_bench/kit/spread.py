"""How spread out a network's outputs are: whether it still tells images apart."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

LEAST_STD = 0.2
"""Of 1 for even spread: below it, cosines between outputs are above 0.96 in the mean."""
LEAST_RANK = 1.25
"""Below it squared cosines of how outputs differ are above 0.8 in the mean: nearly one line."""


def output_std(outputs: Float[Tensor, "images width"]) -> float:
    """Return the mean deviation of the channels of normalised outputs, times sqrt(width).

    About 1 where they are spread evenly over the sphere, 0 where all are the same (Chen and He
    2020, SimSiam, arXiv 2011.10566, sec. 4.1).
    """
    std = normalize(outputs.float(), dim=1).std(dim=0, correction=0).mean()
    return float(std) * math.sqrt(outputs.shape[1])


def effective_rank(outputs: Float[Tensor, "images width"]) -> float:
    """Return how many directions the outputs differ along: 1 / mean squared cosine of all pairs.

    Cosines are of outputs less their mean, each with itself among the pairs. That is the
    participation ratio of their spectrum: from 1, on one line, to min(images - 1, width); 0 where
    all are the same. It does not change if a few lie far off, as they do where outputs collapse
    behind a BatchNorm, which keeps their std from 0.
    """
    outputs = outputs.float()
    rows = normalize(outputs - outputs.mean(dim=0), dim=1)
    small = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    squares = float((small / len(rows)).square().sum())
    return 1.0 / squares if squares > 0 else 0.0


def collapse(output_std: float, effective_rank: float) -> str:
    """Return in words that outputs have collapsed, empty if they have not."""
    if output_std < LEAST_STD:
        return f"outputs hardly differ: std {output_std:.3g} of 1 for evenly spread ones"
    if effective_rank < LEAST_RANK:
        return f"outputs differ along one line: effective rank {effective_rank:.3g}"
    return ""
