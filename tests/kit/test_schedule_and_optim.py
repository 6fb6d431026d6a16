import json

import numpy as np
import pytest
import torch

from mae_bench.kit.classifier import Classifier
from mae_bench.kit.optim import LARS, decay_groups, groups_table, layer_decay_groups, layer_id
from mae_bench.kit.schedule import WarmupCosine, scaled_lr
from mae_bench.kit.spec import EncoderSpec, named_spec


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


def test_the_table_of_groups_names_every_layer_and_counts_its_tensors():
    model = Classifier(named_spec("vit_smoke_patch8", 64, origin="mae"), 10, "avg")
    table = groups_table(layer_decay_groups(model, 4, 0.5, 0.05)).splitlines()
    assert table[0].split() == ["lr", "scale", "decay", "tensors", "of"]
    assert sorted(line.split() for line in table if "blocks.0" in line) == [
        ["0.062500", "0", "8", "blocks.0"],
        ["0.062500", "0.05", "4", "blocks.0"],
    ]
    assert sum(int(line.split()[2]) for line in table[1:]) == len(list(model.parameters()))


def test_blocks_that_share_a_scale_stop_the_run():
    model = Classifier(named_spec("vit_smoke_patch8", 64, origin="mae"), 10, "avg")
    groups = layer_decay_groups(model, 4, 0.5, 0.05)
    for group in groups:
        if any(name.startswith("blocks.1.") for name in group["names"]):
            group["lr_scale"] = 0.0625
    with pytest.raises(ValueError, match="blocks share an lr scale"):
        groups_table(groups)


def test_a_block_with_two_scales_stops_the_run():
    model = Classifier(named_spec("vit_smoke_patch8", 64, origin="mae"), 10, "avg")
    groups = layer_decay_groups(model, 4, 0.5, 0.05)
    next(g for g in groups if g["names"][0].startswith("blocks.2."))["lr_scale"] = 0.9
    with pytest.raises(ValueError, match=r"blocks\.2 have several lr scales"):
        groups_table(groups)
