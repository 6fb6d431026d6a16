import json

import numpy as np
import pytest
import torch

from mae_bench.kit.classifier import Classifier
from mae_bench.kit.optim import LARS, decay_groups, layer_decay_groups, layer_id
from mae_bench.kit.schedule import WarmupCosine, scaled_lr
from mae_bench.kit.spec import EncoderSpec


def test_schedule_equals_the_reference_at_every_iteration(golden_file):
    golden = json.loads(golden_file("lr_schedule.json").read_text())
    schedule = WarmupCosine(
        golden["lr"], golden["min_lr"], golden["warmup_epochs"], golden["epochs"]
    )
    ours = [schedule.at(i / golden["steps_per_epoch"]) for i in range(len(golden["values"]))]
    np.testing.assert_allclose(ours, golden["values"], rtol=1e-12, atol=1e-15)
    assert ours[0] == 0.0


def test_learning_rate_scales_with_the_batch():
    assert scaled_lr(1.5e-4, 4096) == pytest.approx(2.4e-3)


def test_layer_decay_groups_equal_the_reference(golden_file):
    golden = json.loads(golden_file("layer_decay.json").read_text())
    spec = EncoderSpec(arch="x", image_size=32, patch_size=8, width=32, depth=12, heads=4)
    model = Classifier(spec, num_classes=5, pool="avg")
    groups = layer_decay_groups(model, 12, golden["layer_decay"], golden["weight_decay"])
    ours = {n: [g["lr_scale"], g["weight_decay"]] for g in groups for n in g["names"]}
    assert ours.keys() == golden["groups"].keys()
    for name, (scale, decay) in golden["groups"].items():
        assert ours[name] == [pytest.approx(scale), decay], name
    assert len({g["lr_scale"] for g in groups}) == 14


def test_a_parameter_outside_the_layers_is_refused():
    with pytest.raises(ValueError, match=r"no layer id for parameter 'adapter\.weight'"):
        layer_id("adapter.weight", 12)


def test_only_matrices_decay_in_pretraining():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    decayed, free = decay_groups(model, 0.05)
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert (len(free["params"]), free["weight_decay"]) == (3, 0.0)


def test_lars_equals_the_reference_over_five_steps(golden_file):
    golden = np.load(golden_file("lars.npz"))
    hyper = json.loads(str(golden["hyper"]))
    matrix = torch.nn.Parameter(torch.tensor(golden["w0"]))
    vector = torch.nn.Parameter(torch.tensor(golden["b0"]))
    optimizer = LARS(
        [matrix, vector],
        lr=hyper["lr"],
        weight_decay=hyper["weight_decay"],
        momentum=hyper["momentum"],
        trust=hyper["trust_coefficient"],
    )
    for step in range(5):
        matrix.grad = torch.tensor(golden[f"gw{step}"])
        vector.grad = torch.tensor(golden[f"gb{step}"])
        optimizer.step()
        for ours, name in ((matrix, "w"), (vector, "b")):
            expected = golden[f"{name}{step + 1}"]
            np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-5, atol=1e-7)
