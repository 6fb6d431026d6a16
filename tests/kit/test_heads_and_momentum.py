import math

import pytest
import torch
from torch import nn

from mae_bench.kit.heads import mlp
from mae_bench.kit.momentum import follow, follower, momentum_at


def kinds(head):
    return [type(layer).__name__ for layer in head]


def test_a_head_is_normed_nowhere_within_or_throughout():
    one = ["Linear", "ReLU", "Linear"]
    assert kinds(mlp((4, 8, 2), norm="none")) == one
    assert kinds(mlp((4, 8, 2), norm="hidden")) == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    whole = ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert kinds(mlp((4, 8, 8, 2), norm="all")) == [*whole, "BatchNorm1d"]


def test_a_layer_has_a_bias_where_no_norm_follows_and_the_last_norm_no_weights():
    hidden, whole = mlp((4, 8, 2), norm="hidden"), mlp((4, 8, 2), norm="all")
    assert [layer.bias is not None for layer in hidden if isinstance(layer, nn.Linear)] == [
        False,
        True,
    ]
    assert not any(layer.bias is not None for layer in whole if isinstance(layer, nn.Linear))
    assert whole[1].affine
    assert not whole[-1].affine


def test_a_head_of_two_layers_is_their_formula():
    head = mlp((3, 5, 2), norm="none")
    rows = torch.randn(4, 3)
    inner = (rows @ head[0].weight.T + head[0].bias).clamp(min=0)
    torch.testing.assert_close(head(rows), inner @ head[2].weight.T + head[2].bias)


def test_a_follower_starts_as_a_copy_that_no_gradient_reaches():
    leader = nn.Linear(3, 2)
    behind = follower(leader)
    assert torch.equal(behind.weight, leader.weight)
    assert behind.weight is not leader.weight
    assert not any(parameter.requires_grad for parameter in behind.parameters())
    assert all(parameter.requires_grad for parameter in leader.parameters())


def test_a_follower_takes_its_share_of_the_weights_and_keeps_its_own_buffers():
    leader = nn.BatchNorm1d(3)
    behind = follower(leader)
    with torch.no_grad():
        leader.weight.fill_(3.0)
        leader.running_mean.fill_(5.0)
    for _ in range(2):
        follow(behind, leader, 0.75)
    torch.testing.assert_close(behind.weight, torch.full((3,), 3 - 2 * 0.75**2))
    assert not behind.running_mean.any()


@pytest.mark.parametrize(("momentum", "wanted"), [(1.0, 1.0), (0.0, 3.0)])
def test_a_momentum_of_one_stands_still_and_of_zero_copies(momentum, wanted):
    leader = nn.BatchNorm1d(3)
    behind = follower(leader)
    nn.init.constant_(leader.weight, 3.0)
    follow(behind, leader, momentum)
    assert torch.equal(behind.weight, torch.full((3,), wanted))


def test_the_momentum_stays_or_rises_to_one_by_half_a_cosine():
    assert momentum_at(0.7, 0.99, "constant") == 0.99
    found = [momentum_at(progress, 0.99, "cosine") for progress in (0.0, 1 / 3, 0.5, 1.0)]
    assert found == pytest.approx([0.99, 1 - 0.01 * 0.75, 0.995, 1.0], rel=1e-12)
    assert math.isclose(momentum_at(0.25, 0.0, "cosine"), 0.5 - math.sqrt(0.5) / 2)
