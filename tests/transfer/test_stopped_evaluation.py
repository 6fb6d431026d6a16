import dataclasses
import signal
import sys
from importlib import import_module

import pytest

from mae_bench.core.recipe import Context
from mae_bench.core.registry import load

EPOCHS = {"epochs": 2, "warmup_epochs": 1, "batch_size": 8}
DETECTION = {
    "image_size": 64,
    "iterations": 3,
    "milestones": (2,),
    "warmup_iterations": 1,
    "batch_size": 2,
    "pyramid_width": 16,
    "box_width": 16,
    "rpn_proposals": 20,
    "detections_per_image": 5,
}
SEGMENTATION = {
    "crop_size": 32,
    "stride": 32,
    "short_side": 64,
    "long_side": 128,
    "iterations": 4,
    "warmup_iterations": 1,
    "batch_size": 4,
    "head_width": 8,
    "auxiliary_width": 8,
}
KINDS = {
    "imagenet_finetune": (EPOCHS, "mae_bench.kit.evaluation", "eval_batches"),
    "imagenet_linear": (EPOCHS, "mae_bench.kit.evaluation", "eval_batches"),
    "imagenet_knn": ({"image_size": 64}, "mae_bench.kit.features", "eval_batches"),
    "coco_vitdet": (DETECTION, "transfer.detectron2_adapter.detect", "test_loader"),
    "ade20k_upernet": (SEGMENTATION, "transfer.mmseg_adapter.evaluation", "AreaMetric.process"),
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Take the signal as a job's process does, and keep features of no other test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(75))
    yield
    signal.signal(signal.SIGTERM, before)


def signal_in(monkeypatch, module, name):
    """Let the call of a function of the evaluation be met by a signal."""
    holder = import_module(module)
    *classes, function = name.split(".")
    for part in classes:
        holder = getattr(holder, part)
    original = getattr(holder, function)

    def met(*arguments, **options):
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments, **options)

    monkeypatch.setattr(holder, function, met)


@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_in_an_evaluation_costs_nothing_but_the_evaluation(
    tmp_path, monkeypatch, write, roots, kind
):
    fields, module, name = KINDS[kind]
    recipe = dataclasses.replace(load(kind).demo(), **fields)
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
    data, encoder = roots[recipe.dataset], write()
    whole = recipe.run(Context(tmp_path / "whole", 0, data, encoder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other_cache"))
    cut = Context(tmp_path / "cut", 0, data, encoder)
    with monkeypatch.context() as patch:
        signal_in(patch, module, name)
        with pytest.raises(SystemExit) as end:
            recipe.run(cut)
    assert end.value.code == 75
    trained = {path: path.stat().st_mtime_ns for path in cut.out.glob("checkpoints/*")}
    assert bool(trained) == (kind != "imagenet_knn")
    assert recipe.run(cut) == whole
    assert {path: path.stat().st_mtime_ns for path in cut.out.glob("checkpoints/*")} == trained
