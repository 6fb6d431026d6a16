import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mae_bench.core.fidelity import fidelity
from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.evaluation import ALONE
from mae_bench.kit.label_lists import labelled
from mae_bench.kit.samples import read_samples
from transfer.classification import classifier
from transfer.imagenet_lowshot import ImagenetLowshot
from transfer.lowshot import PseudoLabels, pseudo_labels, relabelled

DRIVE = Path(__file__).with_name("drive_task.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone"]
TORCHRUN += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
RECIPE = dataclasses.replace(
    ImagenetLowshot.demo(), epochs=2, batch_size=8, strengths=(0.1, 0.001), confidence=(0.0, 0.2)
)
METHODS = ("linear", "finetune", "self")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path, roots):
    """Return 32 training images of 8 classes with a list of three of each class for 10 %."""
    shutil.copytree(roots["imagenet"], tmp_path / "data")
    names = sorted((tmp_path / "data" / "train").rglob("*.JPEG"))
    kept = [path.name for i, path in enumerate(names) if i % 4]
    (tmp_path / "data" / "10percent.txt").write_text("\n".join(kept))
    return tmp_path / "data"


def run(out, data, encoder, seed=0, recipe=RECIPE):
    out.mkdir(exist_ok=True)
    return recipe.run(Context(out, seed, data, encoder))


def facts_of(out):
    return json.loads((out / "facts.json").read_text())


def test_six_numbers_and_what_they_are_of(tmp_path, write, data):
    out = tmp_path / "out"
    metrics = run(out, data, write())
    assert set(metrics) == {metric.name for metric in ImagenetLowshot.metrics}
    for name, value in metrics.items():
        rows = pd.read_parquet(out / name / "predictions.parquet")
        assert 100 * (rows["top1"] == rows["label"]).mean() == value, name
    facts = facts_of(out)
    assert facts["labels"]["10"]["source"] == "10percent.txt"
    assert (facts["labels"]["1"]["source"], facts["labels"]["1"]["images"]) == ("seed 0", 8)
    assert facts["linear_1"] == {"strength": 0.1, "held_out_top1": {}}  # one label a class
    tried = facts["linear_10"]["held_out_top1"]
    assert list(tried) == ["0.1", "0.001"]
    assert tried[f"{facts['linear_10']['strength']:g}"] == max(tried.values())
    assert (facts["self_1"]["labelled"], facts["self_1"]["pseudo_labelled"]) == (8, 24)
    assert 0 <= facts["self_10"]["pseudo_labelled"] <= 8
    assert facts["self_10"]["training"]["world"] == 1
    stamp = fidelity(RECIPE, facts)
    assert "1 % of the labels by seed 0, published a list of images" in stamp
    assert not any(line.startswith("10 % of the labels") for line in stamp)


def test_the_same_seed_gives_the_same_numbers_and_another_other_labels(tmp_path, write, data):
    first, again = (run(tmp_path / name, data, write(), seed=3) for name in "ab")
    assert first == again
    run(tmp_path / "c", data, write(), seed=4)
    found = [facts_of(tmp_path / name)["labels"] for name in "ac"]
    assert found[0]["1"]["sha256"] != found[1]["1"]["sha256"]
    assert found[0]["10"] == found[1]["10"]


def test_another_encoder_changes_what_every_method_says(tmp_path, write, data):
    for seed in (0, 1):
        run(tmp_path / str(seed), data, write(seed))
    for method in METHODS:
        given = [
            pd.read_parquet(tmp_path / seed / f"{method}_10" / "predictions.parquet")["probability"]
            for seed in "01"
        ]
        assert np.abs(given[0] - given[1]).max() > 1e-3, method


def test_finished_parts_are_not_run_again(tmp_path, write, data):
    out = tmp_path / "out"
    metrics = run(out, data, write())
    done = json.loads((out / "parts.json").read_text())
    assert done == metrics
    for name in ("finetune_1", "self_1", "linear_10"):
        shutil.rmtree(out / name)
    (out / "parts.json").write_text(json.dumps({n: v for n, v in done.items() if n != "linear_10"}))
    assert run(out, data, write()) == metrics
    assert (out / "linear_10").is_dir()
    assert not (out / "finetune_1").exists()
    assert not (out / "self_1").exists()


def test_self_training_after_a_kill_trains_on_the_labels_it_had(tmp_path, write, data):
    out = tmp_path / "out"
    metrics = run(out, data, write())
    (out / "parts.json").write_text(json.dumps({n: v for n, v in metrics.items() if n != "self_1"}))
    shutil.rmtree(out / "self_1" / "checkpoints")
    shutil.rmtree(out / "finetune_1")  # the model that gave the labels
    assert run(out, data, write()) == metrics
    assert not (out / "finetune_1").exists()


def drive(tmp_path, name, words, *prefix):
    """Run a task in processes of their own; return its metrics and what it printed."""
    task, data, encoder, fields, *more = words
    (tmp_path / name).mkdir()
    answer = subprocess.run(
        [sys.executable, *prefix, DRIVE, task, tmp_path / name, data, encoder, fields, *more],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / f"cache-{name}")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return json.loads((tmp_path / name / "metrics.json").read_text()), answer.stdout


def same_predictions(one, other):
    """Check every part's predictions of two runs for the same bits."""
    for path in one.rglob("predictions.parquet"):
        theirs = pd.read_parquet(other / path.relative_to(one))
        pd.testing.assert_frame_equal(pd.read_parquet(path), theirs, check_exact=True)


def test_killed_at_random_points_it_ends_with_the_same_numbers(tmp_path, write, data):
    fields = json.dumps(fields_of(dataclasses.replace(RECIPE, epochs=6)))
    words = ("imagenet_lowshot", data, write(), fields)
    whole, _ = drive(tmp_path, "whole", words)
    killed, kills = drive(tmp_path, "killed", (*words, "8"))
    assert int(kills) >= 8
    assert killed == whole
    same_predictions(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("task", ["imagenet_lowshot", "imagenet_knn"])
def test_two_ranks_give_the_numbers_of_one(tmp_path, write, data, task):
    recipe = {"image_size": 64} if task == "imagenet_knn" else fields_of(RECIPE)
    words = (task, data, write(), json.dumps(recipe))
    alone, _ = drive(tmp_path, "alone", words)
    both, _ = drive(tmp_path, "both", words, *TORCHRUN)
    assert both.keys() == alone.keys()
    for name, value in alone.items():
        # The features are the same bits; gradients are summed in another order.
        few = 0.0 if name.startswith(("linear", "knn")) else 15.0
        assert both[name] == pytest.approx(value, abs=few), name


def test_labels_are_taken_from_the_share_and_the_model_alone(tmp_path, data):
    samples = read_samples(data, "train")
    share = labelled(data, samples, 10, seed=0)
    rest = np.setdiff1d(np.arange(len(samples)), share.indices)
    found = PseudoLabels(rest[:3], np.array([7, 0, 7]))
    both = relabelled(samples, share, found)
    assert len(both) == len(share.indices) + 3
    hidden = samples.labels.copy()
    hidden[rest] = 5
    again = relabelled(dataclasses.replace(samples, labels=hidden), share, found)
    assert both.labels.tolist() == again.labels.tolist()
    given = dict(zip(both.names.tolist(), both.labels.tolist(), strict=True))
    assert [given[name] for name in samples.names[rest[:3]].tolist()] == [7, 0, 7]
    assert given[samples.names[share.indices[0]]] == samples.labels[share.indices[0]]


def test_a_model_labels_what_it_is_sure_of(encoder_of, data):
    samples = read_samples(data, "train")
    blind = dataclasses.replace(samples, labels=np.full(len(samples), -1))
    model = classifier(encoder_of(), 8, "avg")
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    assert len(pseudo_labels(model, blind, 0.13, ALONE).indices) == 0  # all classes have 1/8
    assert len(pseudo_labels(model, blind, 0.125, ALONE).indices) == 32
    with torch.no_grad():
        model.head.bias[3] = 5.0
    found = pseudo_labels(model, blind, 0.9, ALONE)
    assert found.indices.tolist() == list(range(32))
    assert set(found.labels.tolist()) == {3}


def test_published_values_are_semi_vits_of_each_size_and_share():
    base, large = (
        ImagenetLowshot.published(arch, "mae") for arch in ImagenetLowshot.published_archs
    )
    assert base.finetuning(1).lr_per_256 == 5e-5
    assert base.finetuning(1).mixup == base.finetuning(1).drop_path == 0
    assert base.finetuning(10).lr_per_256 == 2.5e-4
    assert (base.finetuning(10).mixup, base.finetuning(10).cutmix) == (0.8, 1.0)
    assert (base.finetuning(1).epochs, base.finetuning(1).batch_size) == (100, 512)
    assert (large.finetuning(1).epochs, large.finetuning(1).layer_decay) == (50, 0.75)
    assert large.finetuning(1).lr_per_256 == large.finetuning(10).lr_per_256 == 1e-3
    assert large.finetuning(10).drop_path == 0.1
    assert (base.confidence, large.confidence) == ((0.6, 0.5), (0.6, 0.6))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"confidence": (1.2, 0.5)}, r"imagenet_lowshot\.confidence must be two numbers in"),
        ({"lr_per_256": (1e-3, 0.0)}, r"imagenet_lowshot\.lr_per_256 must be > 0, got 0\.0 for 10"),
        ({"drop_path": (1.0, 0.1)}, r"imagenet_lowshot\.drop_path must be in \[0, 1\).* for 1 %"),
        ({"strengths": (0.1, 0.1)}, r"imagenet_lowshot\.strengths must be distinct"),
        ({"strengths": ()}, r"imagenet_lowshot\.strengths must be distinct"),
        ({"self_epochs": 5}, r"imagenet_lowshot\.self_epochs must be above warmup_epochs = 5"),
        ({"epochs": 5}, r"imagenet_lowshot\.warmup_epochs must be in"),
    ],
)
def test_a_wrong_value_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        ImagenetLowshot(**fields)


def test_too_few_labels_for_a_batch_are_said(tmp_path, write, data):
    recipe = dataclasses.replace(RECIPE, batch_size=16)
    with pytest.raises(ValueError, match="batch_size 16 is larger than the training set of 8 imag"):
        run(tmp_path / "out", data, write(), recipe=recipe)
