import math

import pytest
import torch
from torch.nn.functional import normalize

from mae_bench.kit.spread import collapse, effective_rank, output_std


def around(mean: float, images: int = 400, width: int = 32) -> torch.Tensor:
    """Return random outputs, all moved along one channel."""
    outputs = torch.randn(images, width, generator=torch.Generator().manual_seed(0))
    outputs[:, 0] += mean
    return outputs


def test_opposite_outputs_have_a_std_of_1_and_equal_ones_of_0():
    towards = torch.ones(4, 9) * torch.tensor([1.0, -2.0, 3.0, -4.0])[:, None]
    assert output_std(towards) == pytest.approx(1.0)
    assert output_std(towards.abs()) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("images", [16, 64, 512])
def test_one_output_opposite_to_all_others_leaves_a_std_of_2_over_the_root_of_images(images):
    outputs = torch.ones(images, 16)
    outputs[0] = -(images - 1.0)  # as BatchNorm has it, whose mean is 0
    assert output_std(outputs) == pytest.approx(2 * math.sqrt(images - 1) / images)
    assert effective_rank(outputs) == pytest.approx(1.0)


def test_std_is_that_of_channels_counted_one_by_one():
    outputs = around(3.0).double()
    rows = []
    for row in outputs.tolist():
        length = math.sqrt(sum(value * value for value in row))
        rows.append([value / length for value in row])
    channels = list(zip(*rows, strict=True))
    stds = []
    for channel in channels:
        mean = sum(channel) / len(channel)
        stds.append(math.sqrt(sum((v - mean) ** 2 for v in channel) / len(channel)))
    expected = sum(stds) / len(stds) * math.sqrt(len(stds))
    assert output_std(outputs) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("images", "width"), [(5, 8), (8, 8), (300, 8)])
def test_rank_is_one_over_the_mean_squared_cosine_of_pairs(images, width):
    outputs = torch.randn(images, width, generator=torch.Generator().manual_seed(1))
    rows = normalize(outputs.double() - outputs.double().mean(dim=0), dim=1).tolist()
    total = 0.0
    for one in rows:
        for other in rows:
            total += sum(a * b for a, b in zip(one, other, strict=True)) ** 2
    assert effective_rank(outputs) == pytest.approx(images**2 / total, rel=1e-5)


def test_rank_of_orthonormal_outputs_is_one_less_for_their_mean():
    assert effective_rank(torch.eye(12)) == pytest.approx(11.0)
    assert effective_rank(torch.cat([torch.eye(12), -torch.eye(12)])) == pytest.approx(12.0)


def test_rank_does_not_see_where_outputs_lie_nor_how_large_they_are():
    expected = effective_rank(around(0.0))
    assert 25 < expected < 32
    assert effective_rank(around(50.0)) == pytest.approx(expected, rel=1e-3)
    assert effective_rank(around(0.0) * 7) == pytest.approx(expected)


def test_equal_outputs_have_rank_0_and_those_of_zeros_too():
    assert effective_rank(torch.ones(6, 4)) == 0.0
    assert effective_rank(torch.zeros(6, 4)) == 0.0
    assert output_std(torch.zeros(6, 4)) == 0.0


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (around(0.0), ""),
        (around(10.0), ""),
        (around(200.0), "outputs hardly differ: std 0.0"),
        (around(0.0, width=1), "outputs differ along one line: effective rank 1"),
    ],
)
def test_collapse_is_told_of_outputs_that_are_one_point_or_one_line(outputs, said):
    found = collapse(output_std(outputs), effective_rank(outputs))
    assert found.startswith(said)
    assert bool(found) == bool(said)
