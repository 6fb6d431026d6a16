import math
from types import SimpleNamespace

import pytest
import torch

from mae_bench.core.registry import load

NAMES = ("moco_v3", "simsiam", "simclr", "byol", "moco_v2")


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def drawn_rows():
    draws = torch.Generator().manual_seed(2)
    return [torch.randn(6, 4, generator=draws).requires_grad_() for _ in range(4)]


def given(first, second, target1, target2):
    """Return what a loss asks its networks for: the outputs for the views called 1 and 2."""
    online, target = {1: first, 2: second}, {1: target1, 2: target2}
    return SimpleNamespace(
        project=lambda view: online[view],
        predict=lambda rows: 2 * rows + 1,
        momentum=lambda view: target[view],
    )


def guessed(rows):
    return [[2 * value + 1 for value in row] for row in rows.tolist()]


def test_simsiams_loss_is_minus_the_mean_cosine_of_both_directions():
    first, second, _, _ = drawn_rows()
    loss = load("simsiam")().loss(given(first, second, None, None), 1, 2)
    forth = [cosine(g, z) for g, z in zip(guessed(first), second.tolist(), strict=True)]
    back = [cosine(g, z) for g, z in zip(guessed(second), first.tolist(), strict=True)]
    assert loss.item() == pytest.approx(-sum(forth + back) / 12, rel=1e-5)


def test_byols_loss_is_the_squared_distance_of_normalised_rows_of_both_directions():
    first, second, target1, target2 = drawn_rows()
    loss = load("byol")().loss(given(first, second, target1, target2), 1, 2)
    pairs = [*zip(guessed(first), target2.tolist(), strict=True)]
    pairs += zip(guessed(second), target1.tolist(), strict=True)
    total = 0.0
    for guess, target in pairs:
        lengths = [math.sqrt(sum(value**2 for value in row)) for row in (guess, target)]
        total += sum(
            (g / lengths[0] - t / lengths[1]) ** 2 for g, t in zip(guess, target, strict=True)
        )
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_gradients_stop_at_simsiams_targets_unless_told_not_to():
    first, second, _, _ = drawn_rows()
    gradients = []
    for stop in (True, False):
        net = given(first, second, None, None)
        net.predict = lambda rows: rows.detach()  # what is left comes through the targets
        loss = load("simsiam")(stop_gradient=stop).loss(net, 1, 2)
        gradients.append(torch.autograd.grad(loss, [first])[0] if loss.requires_grad else None)
    assert gradients[0] is None
    assert gradients[1].abs().sum() > 0


def test_mocos_v3_loss_is_that_of_both_directions_times_twice_the_temperature():
    rows = torch.eye(8)
    net = given(rows, rows, rows, rows)
    net.predict = lambda rows: rows
    loss = load("moco_v3")(temperature=0.2).loss(net, 1, 2)
    assert loss.item() == pytest.approx(0.4 * 2 * math.log(1 + 7 / math.exp(5)), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_equal_outputs_are_the_closed_forms(name):
    recipe = load(name)()
    rows = torch.ones(8, 4)
    same = given(rows, rows, rows, rows)
    same.queue = SimpleNamespace(keys=torch.full((48, 4), 0.5))
    wanted = {
        "moco_v3": 4 * 0.2 * math.log(8),
        "simsiam": -1.0,
        "simclr": math.log(15),
        "byol": 0.0,
        "moco_v2": math.log(49),
    }
    assert recipe.loss(same, 1, 2).item() == pytest.approx(wanted[name], abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_losses_of_half_precision_outputs_are_single_precision(name):
    outputs = [rows.detach().bfloat16() for rows in drawn_rows()]
    recipe, found = load(name)(), []
    for dtype in (torch.bfloat16, torch.float32):
        net = given(*(rows.to(dtype) for rows in outputs))
        net.predict = lambda rows: rows
        net.queue = SimpleNamespace(keys=torch.eye(4))
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            found.append(recipe.loss(net, 1, 2))
    torch.testing.assert_close(*found)
