"""Weights that follow others slowly: momentum encoders and averaged models."""

import copy
import math
from typing import Literal, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)
MomentumSchedule = Literal["constant", "cosine"]


def follower(leader: Module) -> Module:
    """Return a copy of the module that no gradient reaches."""
    return copy.deepcopy(leader).requires_grad_(False)


@torch.no_grad()
def follow(behind: nn.Module, leader: nn.Module, momentum: float) -> None:
    """Move the parameters of one module to momentum x own + (1 - momentum) x the leader's.

    Buffers, such as BatchNorm's statistics, are each module's own.
    """
    for own, led in zip(behind.parameters(), leader.parameters(), strict=True):
        own.lerp_(led, 1.0 - momentum)


def momentum_at(progress: float, start: float, schedule: MomentumSchedule) -> float:
    """Return the momentum at that share of the training: constant, or a half-cosine up to 1.

    1 - (1 - start) (cos(pi progress) + 1) / 2 (Grill et al. 2020, arXiv 2006.07733, sec. 3.2).
    """
    if schedule == "constant":
        return start
    return 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0
