import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.fidelity import fidelity
from mae_bench.core.recipe import Context, fields_of
from mae_bench.kit.encoder import read_encoder
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter import segment as engine
from transfer.mmseg_adapter.segment import segment
from transfer.mmseg_adapter.toolbox import import_mmseg
from transfer.voc_segmentation import VocSegmentation

DRIVE = Path(__file__).with_name("drive_segmentation.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone"]
TORCHRUN += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
TINY = dataclasses.replace(
    Ade20kUperNet.demo(),
    crop_size=32,
    stride=32,
    short_side=64,
    long_side=128,
    iterations=4,
    warmup_iterations=1,
    batch_size=4,
    head_width=8,
    auxiliary_width=8,
)
QUIET = dataclasses.replace(TINY, head_dropout=0.0, lr=1e-4)
"""Without anything that draws in a forward pass."""


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Leave figures out where nobody looks at them: they take longer than these runs."""
    import_mmseg()
    if "figures" not in request.node.name:
        name = "transfer.mmseg_adapter.evaluation.segmentation_figures"
        monkeypatch.setattr(name, lambda *words: None)


@pytest.fixture
def run(tmp_path, write, roots):
    """Return a function: recipe, folder name, compute settings -> metrics and folder."""

    def start(recipe, name, **compute):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        write_compute(out, Compute(**compute))
        root = roots["ade20k"] if recipe.dataset == "ade20k" else roots[recipe.dataset]
        return segment(recipe, Context(out, 0, root, write())), out

    return start


def weights(out):
    """Return the weights of the newest checkpoint in mmengine's form."""
    (path,) = out.glob("iter_*.pth")
    return torch.load(path, weights_only=True)["state_dict"]


def facts(out):
    return json.loads((out / "facts.json").read_text())


def assert_close(one, other, atol):
    """Check two sets of weights against each other; counters must be the same."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=atol, rtol=1e-4, msg=name)


def test_a_run_stopped_and_resumed_ends_with_the_same_numbers_and_weights(run, monkeypatch):
    import_mmseg()
    from transfer.mmseg_adapter.training import StepHook

    whole, first = run(TINY, "whole")
    assert 0 < whole["miou"] <= 100
    before, count = StepHook.before_train_iter, iter(range(100))

    def stop_at_two(self, runner, batch_idx, data_batch=None):
        if next(count) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        before(self, runner, batch_idx, data_batch)

    with monkeypatch.context() as patch:
        patch.setattr(StepHook, "before_train_iter", stop_at_two)
        with pytest.raises(SystemExit) as end:
            run(TINY, "cut")
    assert end.value.code == 75
    again, cut = run(TINY, "cut")
    assert again == whole
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(cut)[name]), name
    assert len(facts(cut)["iou"]) == 12


def drive(tmp_path, name, words, prefix=()):
    """Run drive_segmentation.py in a folder of its own; return its folder and what it printed."""
    task, data, encoder, fields, *more = words
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    answer = subprocess.run(
        [sys.executable, *prefix, DRIVE, task, out, data, encoder, fields, *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return out, answer.stdout


def test_two_ranks_give_the_weights_and_numbers_of_one(tmp_path, run, roots, write):
    """Up to rounding, where nothing is drawn in the forward pass: dropout draws by rank."""
    metrics, one = run(QUIET, "one")
    words = ("ade20k_upernet", roots["ade20k"], write(), json.dumps(fields_of(QUIET)))
    two, _ = drive(tmp_path, "two", words, TORCHRUN)
    assert_close(weights(one), weights(two), atol=1e-5)
    found = json.loads((two / "metrics.json").read_text())
    assert found["miou"] == pytest.approx(metrics["miou"], abs=0.05)
    assert facts(two)["training"]["world"] == 2
    assert facts(two)["deviations"] == []  # BatchNorm saw the whole batch
    areas = [pd.read_parquet(out / "per_image.parquet") for out in (one, two)]
    columns = ["image", "class", "truth"]
    truths = [part[part.truth > 0][columns].reset_index(drop=True) for part in areas]
    pd.testing.assert_frame_equal(*truths)
    assert len(list((two / "predictions").iterdir())) == 8


def without_batch_norm(segmenter):
    """Return the segmenter with norms that look at each image alone."""
    for name, module in list(segmenter.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, own = name.rpartition(".")
            norm = nn.GroupNorm(1, module.num_features)
            setattr(segmenter.get_submodule(parent), own, norm)
    return segmenter


def test_accumulated_parts_give_the_weights_of_the_whole_batch(run, monkeypatch):
    build = engine.build_segmenter
    monkeypatch.setattr(engine, "build_segmenter", lambda *words: without_batch_norm(build(*words)))
    _, whole = run(QUIET, "whole")
    _, parts = run(QUIET, "parts", micro_batch=2)
    assert_close(weights(whole), weights(parts), atol=1e-5)


def test_a_batch_norm_that_sees_parts_is_told_in_the_stamp(run):
    _, out = run(TINY, "parts", micro_batch=2)
    assert facts(out)["deviations"] == ["BatchNorm over 2 images, published 4"]
    assert facts(out)["training"]["micro_batch"] == 2
    assert "BatchNorm over 2 images, published 4" in fidelity(TINY, facts(out))
    with pytest.raises(ValueError, match=r"at least 2 images in a forward pass .* got 1"):
        run(TINY, "single", micro_batch=1)


def test_killed_at_random_points_it_ends_with_the_same_numbers(tmp_path, write, roots):
    recipe = dataclasses.replace(TINY, iterations=12)
    words = ("ade20k_upernet", roots["ade20k"], write(), json.dumps(fields_of(recipe)))
    whole, _ = drive(tmp_path, "whole", words)
    killed, kills = drive(tmp_path, "killed", (*words, "4"))
    assert int(kills.split()[-1]) >= 4
    one, other = ((out / "metrics.json").read_text() for out in (whole, killed))
    assert one == other
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(killed)[name]), name
    for path in (whole / "predictions").iterdir():
        assert path.read_bytes() == (killed / "predictions" / path.name).read_bytes()


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_the_matrix_products_run_in_the_precision_asked_for(run, monkeypatch, precision):
    build, seen = engine.build_segmenter, set()

    def watched(*words):
        segmenter = build(*words)
        qkv = segmenter.backbone.layers[1].attn.qkv
        qkv.register_forward_hook(lambda layer, given, out: seen.add((layer.training, out.dtype)))
        return segmenter

    monkeypatch.setattr(engine, "build_segmenter", watched)
    recipe = dataclasses.replace(TINY, iterations=2)
    _, out = run(recipe, "half", precision=precision)
    expected = torch.bfloat16 if precision == "bf16" else torch.float32
    assert seen == {(True, expected), (False, torch.float32)}
    assert facts(out)["training"]["precision"] == str(expected).removeprefix("torch.")
    assert all(t.dtype != torch.bfloat16 for t in weights(out).values())


def test_a_checkpoint_of_another_run_is_refused_unless_forced(run):
    run(TINY, "other")
    changed = dataclasses.replace(TINY, weight_decay=0.1)
    with pytest.raises(ValueError, match=r"weight_decay: 0\.05 in the checkpoint, 0\.1 now"):
        run(changed, "other")
    _, out = run(changed, "other", force=True)
    assert "resumed_from_another_configuration" in facts(out)


def test_what_is_left_tells_the_number_again_and_mmsegmentation_alone_confirms_it(run):
    """Areas, pictures, and the config and weights that mmsegmentation evaluates by itself."""
    metrics, out = run(TINY, "done")
    import_mmseg()
    from mmengine.config import Config
    from mmengine.runner import Runner, load_checkpoint
    from mmseg.apis import inference_model
    from mmseg.registry import MODELS

    per_image = pd.read_parquet(out / "per_image.parquet")
    assert set(per_image.columns) == {"image", "class", "intersection", "prediction", "truth"}
    assert per_image.image.nunique() == 8
    summed = per_image.groupby("class")[["intersection", "prediction", "truth"]].sum()
    union = summed.prediction + summed.truth - summed.intersection
    assert (per_image.prediction + per_image.truth > 0).all()
    assert 100 * (summed.intersection / union).mean() == pytest.approx(metrics["miou"])

    config = Config.fromfile(str(out / "config.py"))
    assert config.model.test_cfg.stride == (32, 32)
    model = MODELS.build(config.model)
    load_checkpoint(model, str(out / "iter_4.pth"), strict=True)
    assert type(model.backbone.layers[0].attn).__name__ == "MAEAttention"
    config.model_wrapper_cfg, config.work_dir = None, str(out / "alone")
    parts = {key: config[key] for key in ("test_dataloader", "test_cfg", "test_evaluator")}
    runner = Runner(model, config.work_dir, **parts, default_scope="mmseg", log_level="WARNING")
    same = []
    model.eval()
    model.cfg = config
    photo = next(Path(config.test_dataloader.dataset.data_prefix.img_path).iterdir())
    assert inference_model(model, str(photo)).pred_sem_seg.data.shape == (1, 64, 64)
    for batch in runner.test_dataloader:
        (sample,) = model.test_step(batch)
        found = sample.pred_sem_seg.data[0].numpy()
        path = out / "predictions" / f"{Path(sample.img_path).stem}.png"
        same.append((found == np.asarray(Image.open(path))).mean())
    assert min(same) > 0.999  # ties alone may fall otherwise: theirs rounds in another order
    assert runner.test()["mIoU"] == pytest.approx(metrics["miou"], abs=0.02)


@pytest.mark.parametrize("rules", ["mended", "mmsegmentation"])
def test_the_optimiser_that_the_config_describes_is_the_one_that_trained(run, rules):
    recipe = dataclasses.replace(TINY, training_rules=rules, iterations=2)
    _, out = run(recipe, "done", micro_batch=2)
    from mmengine.config import Config
    from mmengine.optim import build_optim_wrapper
    from mmseg.registry import MODELS

    config = Config.fromfile(str(out / "config.py"))
    model = MODELS.build(config.model)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    described = {
        id(p): (g.get("initial_lr", g["lr"]), g["weight_decay"])
        for g in wrapper.optimizer.param_groups
        for p in g["params"]
    }
    trained = torch.load(max((out / "checkpoints").glob("*.pt")), weights_only=True)
    groups = trained["optimizer"]["param_groups"]
    ours = {n: (g["initial_lr"], g["weight_decay"]) for g in groups for n in g["names"]}
    for name, parameter in model.named_parameters():
        assert ours[name] == pytest.approx(described[id(parameter)], rel=1e-9), name
    assert wrapper._accumulative_counts == 2
    assert config.train_cfg.max_iters == 2 * recipe.iterations
    warmup, decay = config.param_scheduler  # counted in forward passes too
    assert (warmup.begin, warmup.end) == (0, 2 * recipe.warmup_iterations)
    assert (decay.begin, decay.end) == (warmup.end, config.train_cfg.max_iters)


def test_an_image_narrower_than_the_window_is_segmented(run, roots, tmp_path, write):
    data = tmp_path / "narrow"
    for kind, mode in (("images", "RGB"), ("annotations", "L")):
        for split, suffix in (("training", kind), ("validation", kind)):
            (data / kind / split).mkdir(parents=True)
            name = "0.jpg" if suffix == "images" else "0.png"
            for i in range(4):
                Image.new(mode, (300, 40), 1 if mode == "L" else (9, 9, 9)).save(
                    data / kind / split / f"{i}{name[1:]}"
                )
    (data / "classes.txt").write_text("all\nelse\n")
    out = tmp_path / "out"
    out.mkdir()
    found = segment(dataclasses.replace(TINY, iterations=2), Context(out, 0, data, write()))
    assert 0 <= found["miou"] <= 100
    with Image.open(out / "predictions" / "0.png") as picture:
        assert picture.size == (300, 40)


def test_voc_is_trained_and_scored_on_its_lists(tmp_path, write, devkit):
    out = tmp_path / "voc"
    out.mkdir()
    small = {name: getattr(TINY, name) for name in ("crop_size", "stride", "short_side")}
    recipe = dataclasses.replace(
        VocSegmentation.demo(), **small, iterations=2, warmup_iterations=1, batch_size=4
    )
    found = segment(recipe, Context(out, 0, devkit, write()))
    assert 0 <= found["miou"] <= 100
    assert facts(out)["data"]["classes"] == 21
    assert set(facts(out)["iou"]) == set(recipe.class_names(devkit))


def test_an_image_that_is_missing_or_twice_in_an_evaluation_is_an_error(roots, tmp_path):
    import_mmseg()
    from mae_bench.kit.machine import start
    from transfer.miou import areas
    from transfer.mmseg_adapter.data import build_dataset
    from transfer.mmseg_adapter.evaluation import AreaMetric

    dataset = build_dataset(TINY, roots["ade20k"], "test")
    counted = areas(torch.zeros(2, 2).long(), torch.zeros(2, 2).long(), 12, 255)
    for places in ([0, 1], [*range(7), 6], [*range(8), 7]):
        metric = AreaMetric(tmp_path, 1, dataset, start(tmp_path))
        metric.results = [(place, str(place), counted) for place in places]
        with pytest.raises(ValueError, match="expected each of 8 once"):
            metric.evaluate(8)


def test_facts_progress_and_figures_are_left(run, write):
    _, out = run(dataclasses.replace(TINY, iterations=2), "told", recompute=True)
    assert facts(out)["arrived"]["tensors"] == len(read_encoder(write()).state) - 2
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "loss" in line][-1]
    assert {"decode.loss_ce", "aux.loss_ce", "lr", "images_per_s", "data_wait"} <= last.keys()
    for name in ("segmentations.png", "classes.png"):
        assert (out / "figures" / name).stat().st_size > 1000
