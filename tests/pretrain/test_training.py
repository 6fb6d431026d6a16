import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.core.files import ENCODER
from mae_bench.core.recipe import Context
from mae_bench.kit import pace
from mae_bench.kit.datasets import Views
from mae_bench.kit.images import eval_view
from mae_bench.kit.samples import read_samples
from mae_bench.kit.scene_files import make_demo
from mae_bench.suite.execute import execute
from pretrain.mae import MAE
from pretrain.supervised import Supervised

DRIVE = Path(__file__).with_name("drive.py")
FIELDS = {
    "arch": "vit_smoke_patch8",
    "image_size": 64,
    "epochs": 5,
    "warmup_epochs": 1,
    "batch_size": 16,
    "lr_per_256": 1e-2,
    "decoder_width": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return an ImageNet folder of 64 training images: 4 steps an epoch."""
    root = tmp_path_factory.mktemp("data") / "demo"
    sizes = DemoData(num_train_images=64, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(root, sizes)
    return demo_roots(root)["imagenet"]


@pytest.fixture
def log_all(monkeypatch):
    monkeypatch.setattr(pace, "LOG_EVERY_S", -1.0)


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


def run(out, data, recipe=None, **compute):
    """Train in this process and return losses and encoder."""
    out.mkdir()
    write_compute(out, Compute(**compute))
    (recipe or MAE(**FIELDS)).run(Context(out, 0, data, None))
    return losses(out), load_file(out / ENCODER)


def run_apart(out, data, **compute):
    """Train in processes of their own and return losses and encoder."""
    out.mkdir()
    write_compute(out, Compute(**compute))
    command = [sys.executable]
    if compute.get("gpus", 1) > 1:
        command += ["-m", "torch.distributed.run", "--standalone"]
        command += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    command += [DRIVE, out, data, json.dumps(FIELDS)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return losses(out), load_file(out / ENCODER)


def assert_same(one, other):
    """Check losses and weights of two runs up to rounding."""
    torch.testing.assert_close(torch.tensor(one[0]), torch.tensor(other[0]), rtol=2e-5, atol=0)
    assert one[1].keys() == other[1].keys()
    for name, tensor in one[1].items():
        torch.testing.assert_close(other[1][name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "LOG_EVERY_S", -1.0)
        return run(tmp_path_factory.mktemp("whole") / "out", data)


def test_twenty_steps_learn(whole):
    assert len(whole[0]) == 20
    assert whole[0][-1] < whole[0][0]


def test_four_micro_batches_give_the_losses_and_weights_of_the_whole_batch(
    tmp_path, data, whole, log_all
):
    assert_same(whole, run(tmp_path / "parts", data, micro_batch=4))


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_two_ranks_give_the_losses_and_weights_of_one(tmp_path, data, whole, shard):
    assert_same(whole, run_apart(tmp_path / shard, data, gpus=2, shard=shard))


def test_two_ranks_with_accumulation_too(tmp_path, data, whole):
    assert_same(whole, run_apart(tmp_path / "both", data, gpus=2, micro_batch=4))


@pytest.mark.parametrize("settings", [{"workers": 2}, {"recompute": True}])
def test_how_the_machine_is_used_does_not_change_the_weights(
    tmp_path, data, whole, log_all, settings
):
    assert_same(whole, run(tmp_path / "other", data, **settings))


def test_compiled_the_weights_are_the_same(tmp_path, data, whole):
    """In a process of its own: the run-time type checks of these tests cannot be compiled."""
    assert_same(whole, run_apart(tmp_path / "compiled", data, compile="on"))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_close(tmp_path, data, whole, log_all, precision):
    found, _ = run(tmp_path / "half", data, precision=precision)
    assert found[-1] == pytest.approx(whole[0][-1], rel=0.02)
    assert found != whole[0]


def test_killed_at_random_points_the_run_ends_with_the_same_bits(tmp_path, data):
    fields = FIELDS | {"epochs": 25}
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        write_compute(tmp_path / name, Compute(workers=1))
    for name, kills in (("whole", []), ("killed", ["20"])):
        command = [sys.executable, DRIVE, tmp_path / name, data, json.dumps(fields), *kills]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert answer.returncode == 0, answer.stderr[-3000:]
    assert int(answer.stdout) >= 20
    whole, killed = (load_file(tmp_path / name / ENCODER) for name in ("whole", "killed"))
    assert all(torch.equal(killed[name], tensor) for name, tensor in whole.items())


@pytest.fixture
def damaged(tmp_path, data):
    """Return a copy of the data in which two training images are cut, and their paths."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    names = read_samples(data, "train").names
    broken = [copy / "train" / names[i].decode() for i in (5, 63)]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    return copy, broken


def test_a_signal_to_the_whole_job_spares_the_workers_until_the_state_is_saved(tmp_path, data):
    write_compute(tmp_path, Compute(workers=2))
    command = [sys.executable, DRIVE, tmp_path, data, json.dumps(FIELDS | {"epochs": 500})]
    run = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not (tmp_path / "metrics.jsonl").exists() and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGTERM)
    error = run.communicate(timeout=60)[1]
    assert run.returncode == 75, error
    assert list((tmp_path / "checkpoints").glob("step-*.pt"))


def test_a_run_that_fails_ends_its_workers(tmp_path, damaged):
    copy, _ = damaged
    write_compute(tmp_path, Compute(workers=2))
    command = [sys.executable, DRIVE, tmp_path, copy, json.dumps(FIELDS | {"epochs": 500})]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert "unreadable images, at most 0 allowed" in answer.stderr


def test_an_unreadable_image_is_replaced_named_and_counted(tmp_path, damaged, log_all, caplog):
    copy, broken = damaged
    with pytest.raises(
        ValueError, match=r"2 unreadable images, at most 0 allowed \(--bad-images\)"
    ):
        run(tmp_path / "strict", copy, MAE(**FIELDS | {"batch_size": 64}))
    found, _ = run(tmp_path / "lenient", copy, bad_images=0.05)
    assert len(found) == 20
    assert all(str(path) in caplog.text for path in broken)
    views = Views(read_samples(copy, "train"), eval_view(64), seed=0)
    assert torch.equal(views[0, 5][0], views[0, 6][0])
    assert views[0, 63][2] == 63


def test_a_worker_that_finds_nothing_readable_names_the_file(tmp_path, data):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    for path in (copy / "train").rglob("*.JPEG"):
        path.write_bytes(b"")
    out = tmp_path / "out"
    out.mkdir()
    write_compute(out, Compute(workers=1))
    fields = {"key": "k", "target": "pretrain.mae:MAE", "fields": FIELDS, "seed": 0}
    job = fields | {"data": str(copy), "encoder": None, "identity": {}}
    (out / "job.json").write_text(json.dumps(job))
    assert execute(out) == 1
    message = json.loads((out / "failure.json").read_text())["message"]
    assert f"{copy}/train/" in message
    assert "cannot be read: the file is empty; copy the data again" in message


def test_unreadable_images_are_counted_once_over_all_ranks(tmp_path, damaged):
    copy, broken = damaged
    allowed = 2.5 / 64  # each of the two images is met by both ranks in the course of five epochs
    losses, _ = run_apart(tmp_path / "out", copy, gpus=2, bad_images=allowed)
    assert len(losses) == 20
    assert len(broken) == 2


def test_the_neighbours_are_watched(tmp_path, data, log_all):
    out = tmp_path / "out"
    out.mkdir()
    write_compute(out, Compute(knn_every=2))
    MAE(**FIELDS).run(Context(out, 0, data, None))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    watched = {line["step"]: line["knn_top1"] for line in lines if "knn_top1" in line}
    assert list(watched) == [8, 16]
    assert all(0 <= value <= 100 for value in watched.values())


def test_the_supervised_average_follows_the_weights_by_its_decay(tmp_path, data):
    recipe = Supervised(
        arch="vit_smoke_patch8",
        image_size=64,
        epochs=1,
        warmup_epochs=0,
        batch_size=32,
        ema_decay=0.75,
    )
    torch.manual_seed(0)
    objective = recipe.objective(data)
    before = {n: p.clone() for n, p in objective.average.named_parameters()}
    with torch.no_grad():
        for parameter in objective.model.parameters():
            parameter.add_(1.0)
    objective.after_step(0.5)
    for name, parameter in objective.average.named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.25)


def test_random_seeds_of_python_do_not_matter(tmp_path, data, whole, log_all):
    random.seed(123)
    torch.manual_seed(123)
    found = run(tmp_path / "again", data)
    assert found[0] == whole[0]
    assert all(torch.equal(found[1][name], tensor) for name, tensor in whole[1].items())
