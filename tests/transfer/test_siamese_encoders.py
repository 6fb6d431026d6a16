import dataclasses

import pytest
import torch

from mae_bench.core.registry import load
from mae_bench.kit.encoder import read_encoder, write_encoder
from mae_bench.kit.images import normalize
from mae_bench.kit.optim import layer_decay_groups
from transfer.classification import classifier
from transfer.linear_probe import LinearProbe

SIAMESE = ["moco_v3", "simclr", "byol", "simsiam", "moco_v2"]


@pytest.fixture
def made(tmp_path):
    """Return a function: name of an objective -> the objective and the encoder that it leaves."""

    def make(name):
        small = {"arch": "vit_smoke_patch8", "image_size": 64}
        recipe = dataclasses.replace(load(name).demo(), **small)
        torch.manual_seed(0)
        objective = recipe.objective(tmp_path)
        write_encoder(tmp_path / f"{name}.safetensors", objective.spec, objective.encoder_state())
        return objective, read_encoder(tmp_path / f"{name}.safetensors")

    return make


@pytest.mark.parametrize("name", SIAMESE)
def test_a_probe_sees_the_features_that_the_objective_projected(made, name):
    objective, encoder = made(name)
    assert encoder.spec.origin == name
    images = torch.randint(0, 255, (3, 3, 64, 64), dtype=torch.uint8)
    network = objective.online.encoder.eval()
    with torch.no_grad():
        expected = network.pooled(network(normalize(images)))
    found = LinearProbe(encoder, 8, norm="none").features(images)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", SIAMESE)
def test_what_was_frozen_in_pretraining_is_fine_tuned(made, name):
    objective, encoder = made(name)
    assert not objective.online.encoder.pos_embed.requires_grad
    model = classifier(encoder, 8, "avg")
    groups = layer_decay_groups(model, encoder.spec.depth, 0.5, 0.05)
    scales = {one: group["lr_scale"] for group in groups for one in group["names"]}
    lowest = 0.5 ** (encoder.spec.depth + 1)
    for tensor in ("pos_embed", "cls_token", "patch_embed.proj.weight", "patch_embed.proj.bias"):
        assert scales[tensor] == lowest
