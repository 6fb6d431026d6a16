import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from mae_bench.core.files import ENCODER

DRIVE = Path(__file__).with_name("drive_siamese.py")
SMALL = {
    "arch": "vit_smoke_patch8",
    "image_size": 32,
    "epochs": 2,
    "warmup_epochs": 1,
    "batch_size": 8,
}
HEADS = {"hidden_width": 32, "output_width": 16}
FIELDS = {
    "moco_v3": HEADS | {"lr_per_256": 1e-2},
    "simsiam": {"lr_per_256": 0.5, "output_width": 32, "predictor_width": 8},
    "simclr": HEADS | {"lr_per_256": 0.2, "optimizer": "sgd"},
    "byol": HEADS | {"lr_per_256": 1.0, "optimizer": "sgd"},
    "moco_v2": HEADS | {"lr_per_256": 0.5, "queue_size": 24},
}
"""At these rates no ReLU's input comes so near to 0 that rounding switches it: on the demo's
colours a SimSiam at twice the rate has one of 9e-7 in its last step, and another gradient on two
ranks."""
NAMES = tuple(FIELDS)
STEPS = 4
"""Of 8 images, in two epochs."""
STOPPED = ("moco_v3", "moco_v2")
"""Those that drive_siamese.py interrupts."""
UNDONE_BY_BATCH_NORM = ("encoder.norm.bias", "attn.qkv.bias", "projector.1.running_mean")
"""Gradients of the biases are rounding alone in MoCo v3, of which AdamW makes whole steps: what is
added before BatchNorm, or to all keys of an attention, changes nothing."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a folder of all objectives, run in all ways."""
    top = tmp_path_factory.mktemp("siamese")
    rng = np.random.default_rng(0)
    for split, number in (("train", 8 * STEPS // 2), ("val", 8)):
        for i in range(number):
            path = top / "data" / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
    fields = {name: SMALL | chosen for name, chosen in FIELDS.items()}
    command = [sys.executable, DRIVE, top, top / "data", json.dumps(fields)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return top


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def state(out):
    """Return what the last checkpoint of a run holds."""
    return torch.load(max((out / "checkpoints").glob("step-*.pt")), weights_only=True)


@pytest.mark.parametrize("way", ["chunks", "two", "fsdp"])
@pytest.mark.parametrize("name", NAMES)
def test_ranks_chunks_and_shards_give_the_losses_and_weights_of_one_pass(root, name, way):
    found, wanted = losses(root / way / name), losses(root / "one" / name)
    assert found == pytest.approx(wanted, rel=2e-5, abs=2e-6)
    weights = state(root / way / name)["module"]
    whole = state(root / "one" / name)["module"]
    assert weights.keys() == whole.keys()
    for key, tensor in whole.items():
        if name != "moco_v3" or not key.endswith(UNDONE_BY_BATCH_NORM):
            torch.testing.assert_close(weights[key], tensor, rtol=1e-3, atol=2e-5, msg=key)


@pytest.mark.parametrize("way", ["two", "fsdp"])
@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_file_of_two_ranks_holds_the_trained_weights(root, name, way):
    trained = state(root / way / name)["module"]
    for key, tensor in load_file(root / way / name / ENCODER).items():
        assert torch.equal(tensor, trained[f"online.encoder.{key}"]), key


@pytest.mark.parametrize(
    ("way", "undisturbed", "name"),
    [("killed", "one", name) for name in NAMES] + [("stopped", "two", name) for name in STOPPED],
)
def test_killed_or_interrupted_a_run_ends_with_the_same_bits(root, way, undisturbed, name):
    """Queue, following network, BatchNorm's statistics and moments too."""
    found, wanted = state(root / way / name), state(root / undisturbed / name)
    assert found["module"].keys() == wanted["module"].keys()
    for key, tensor in wanted["module"].items():
        assert torch.equal(found["module"][key], tensor), key
    assert str(found["optimizer"]) == str(wanted["optimizer"])
    metrics = losses(root / undisturbed / name)
    assert losses(root / way / name).items() >= {STEPS: metrics[STEPS]}.items()


def test_moments_and_followers_are_in_checkpoints(root):
    kept = {name: state(root / "one" / name) for name in NAMES}
    for name in ("moco_v3", "byol", "moco_v2"):
        assert any(key.startswith("momentum.") for key in kept[name]["module"])
    assert kept["moco_v2"]["module"]["queue.place"] == 8 * STEPS % 24
    assert "online.projector.1.running_mean" in kept["simsiam"]["module"]
    assert "momentum_buffer" in str(kept["simsiam"]["optimizer"])
