import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import interpolate

from pretrain.siamese_model import Siamese
from pretrain.simsiam import SimSiam


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread: two are slower on matrices this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(steps: int, **changes: Any) -> Siamese:
    """Return SimSiam after some steps on noisy views of smooth images."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(
        SimSiam.demo(),
        arch="vit_smoke_patch8",
        image_size=16,
        output_width=32,
        predictor_width=8,
        optimizer="sgd",
        weight_decay=1e-4,
        **changes,
    )
    net = recipe.objective(Path())
    optimizer = recipe.make_optimizer(net)
    for group in optimizer.param_groups:
        group["lr"] = 0.3
    images = interpolate(255 * torch.rand(256, 3, 4, 4), size=16, mode="bilinear")
    for step in range(steps):
        those = images[torch.randint(0, 256, (64,))]
        first, second = (noisy(those) for _ in range(2))
        recipe.loss(net, first, second).backward()
        net.before_step()
        optimizer.step()
        optimizer.zero_grad()
        net.after_step((step + 1) / steps)
    return net


def noisy(images: torch.Tensor) -> torch.Tensor:
    """Return the images as uint8, each brighter or darker, and noisy."""
    factors = 0.6 + 0.8 * torch.rand(len(images), 1, 1, 1)
    return (images * factors + 20 * torch.randn_like(images)).clamp(0, 255).to(torch.uint8)


def test_without_stop_gradient_outputs_collapse_and_it_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    net = trained(45, stop_gradient=False, head_norm="hidden")
    with caplog.at_level(logging.WARNING):
        signs = [net.signs() for _ in range(3)]
    assert signs[0] == signs[2]
    assert signs[0]["output_std"] < 0.2
    (record,) = caplog.records
    std = f"{signs[0]['output_std']:.3g}"
    said = f"outputs have collapsed after 100.0 % of the training: outputs hardly differ: std {std}"
    assert record.getMessage().startswith(said)


def test_with_stop_gradient_they_do_not(caplog: pytest.LogCaptureFixture) -> None:
    signs = trained(45).signs()
    assert signs["output_std"] > 0.85
    assert signs["effective_rank"] > 3
    assert signs["patch_embed_gradient"] > 0
    assert not caplog.records


def test_behind_a_batch_norm_what_collapses_is_the_rank() -> None:
    signs = trained(45, stop_gradient=False).signs()
    assert signs["output_std"] > 0.5  # the mean of BatchNorm's outputs is 0
    assert signs["effective_rank"] < 2.2  # above 3 with stop-gradient
