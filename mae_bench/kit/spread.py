"""How spread out a network's outputs are: whether it still tells images apart."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

LEAST_STD = 0.1
"""Normalised outputs with less of the spread that even ones have are called collapsed."""
LEAST_RANK = 2.0


def output_std(outputs: Float[Tensor, "images width"]) -> float:
    """Return the mean deviation of the channels of normalised outputs, times sqrt(width).

    About 1 where they are spread evenly over the sphere, 0 where all are the same (Chen and He
    2020, SimSiam, arXiv 2011.10566, sec. 4.1).
    """
    std = normalize(outputs.float(), dim=1).std(dim=0, correction=0).mean()
    return float(std) * math.sqrt(outputs.shape[1])


def effective_rank(outputs: Float[Tensor, "images width"]) -> float:
    """Return exp of the entropy of the normalised outputs' singular values, about their mean.

    From 1 to min(images, width): how many directions they use (Roy and Vetterli 2007; Garrido et
    al. 2023, RankMe, arXiv 2210.02885). 0 where all are the same.
    """
    rows = normalize(outputs.float(), dim=1)
    rows = rows - rows.mean(dim=0)
    small = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    values = torch.linalg.eigvalsh(small.double().cpu()).clamp(min=0).sqrt()
    if not values.sum() > 0:
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def collapse(output_std: float, effective_rank: float) -> str:
    """Return in words that outputs have collapsed, empty if they have not."""
    if output_std < LEAST_STD:
        return f"outputs hardly differ: std {output_std:.3g} of 1 for evenly spread ones"
    if effective_rank < LEAST_RANK:
        return f"outputs differ along one direction: effective rank {effective_rank:.3g}"
    return ""
