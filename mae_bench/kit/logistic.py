"""Multinomial logistic regression on features, solved to its optimum: no schedule, no seed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mae_bench.kit.machine import whole_float32

MOST_STEPS = 300
"""Of L-BFGS; as many epochs as the solver of MSN's evaluation gets."""
ROWS = 16_384
"""Images whose logits are held at a time: 64 MiB for 1000 classes."""


def unit_rows(features: Float[Tensor, "images width"]) -> Float[Tensor, "images width"]:
    """Return each image's features less their mean, at length 1, as MSN's evaluation has them."""
    return normalize(features - features.mean(dim=1, keepdim=True), dim=1)


def fit_logistic(
    features: Float[Tensor, "images width"],
    labels: Int[Tensor, " images"],
    num_classes: int,
    strength: float,
) -> Float[Tensor, "classes width"]:
    """Return the weights, without intercept, at the minimum of the penalised likelihood.

    It is the mean cross entropy plus strength / (2 images) times the squared length of the weights:
    scikit-learn's C is 1 / strength. Solved by L-BFGS from 0 on the features' device.
    """
    count = len(features)
    weights = features.new_zeros(num_classes, features.shape[1]).requires_grad_()
    solver = torch.optim.LBFGS(
        [weights],
        max_iter=MOST_STEPS,
        max_eval=2 * MOST_STEPS,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        solver.zero_grad()
        penalty = weights.square().sum() * (strength / (2 * count))
        penalty.backward()
        total = penalty.detach().double()
        for rows, wanted in zip(features.split(ROWS), labels.split(ROWS), strict=True):
            part = cross_entropy(rows @ weights.T, wanted, reduction="sum") / count
            part.backward()
            total += part.detach()
        return float(total)

    with whole_float32():
        solver.step(loss)
    return weights.detach()
