"""What a segmenter's run does about bad losses, bad images, and an attempt on another machine."""

import dataclasses
import json
import math
import shutil
import signal

import pytest
import torch
from torch import nn

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.recipe import Context
from mae_bench.kit import pace
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter.segment import segment
from transfer.mmseg_adapter.toolbox import import_mmseg

TINY = dataclasses.replace(
    Ade20kUperNet.demo(),
    crop_size=32,
    stride=32,
    short_side=64,
    long_side=128,
    iterations=5,
    warmup_iterations=1,
    batch_size=4,
    head_width=8,
    auxiliary_width=8,
)


@pytest.fixture
def run(tmp_path, write, roots, monkeypatch):
    """Return a function: folder name, data root and compute settings -> the job's folder."""
    import_mmseg()
    from transfer.mmseg_adapter import evaluation

    monkeypatch.setattr(evaluation, "segmentation_figures", lambda *words: None)

    def start(name, root=None, **compute):
        out = tmp_path / name
        out.mkdir(exist_ok=True)
        write_compute(out, Compute(**compute))
        segment(TINY, Context(out, 0, root or roots["ade20k"], write()))
        return out

    return start


@pytest.fixture
def passes(monkeypatch):
    """Return a function that makes losses NaN where it says so, and the images of each pass."""
    import_mmseg()
    from mmseg.models import EncoderDecoder

    loss, seen = EncoderDecoder.loss, []

    def poison(is_bad):
        def poisoned(self, inputs, data_samples):
            factor = math.nan if is_bad(len(seen)) else 1.0
            seen.append([sample.img_path for sample in data_samples])
            return {k: v * factor for k, v in loss(self, inputs, data_samples).items()}

        monkeypatch.setattr(EncoderDecoder, "loss", poisoned)
        return seen

    return poison


def facts(out):
    return json.loads((out / "facts.json").read_text())


def weights(out):
    return torch.load(out / "iter_5.pth", weights_only=True)["state_dict"]


def test_a_loss_that_is_no_number_is_left_out_and_counted(run, passes):
    passes(lambda number: number == 1)
    out = run("one")
    training = facts(out)["training"]
    assert (training["skipped_steps"], training["went_back"]) == (1, 0)
    assert all(tensor.isfinite().all() for tensor in weights(out).values())


def test_several_in_a_row_lead_back_to_the_checkpoint_and_on_in_another_order(
    run, passes, monkeypatch, caplog
):
    monkeypatch.setattr(pace, "SAVE_EVERY_S", -1.0)  # a checkpoint after every good step
    monkeypatch.setattr(pace, "SAVE_SHARE", math.inf)
    seen = passes(lambda number: number in (2, 3))
    out = run("back", nonfinite=2)
    assert len(seen) == 2 + 2 + 3  # two good steps, two bad, and on from step 2
    assert sorted(seen[4]) != sorted(seen[2])
    training = facts(out)["training"]
    assert (training["skipped_steps"], training["went_back"]) == (2, 1)
    assert "2 losses in a row not finite: on from step 2, other order" in caplog.text
    assert all(tensor.isfinite().all() for tensor in weights(out).values())


def test_a_run_that_diverges_again_in_another_order_fails(run, passes, tmp_path):
    seen = passes(lambda number: True)
    with pytest.raises(ValueError, match=r"2 losses in a row, .* again in another order"):
        run("all", nonfinite=2)
    assert len(seen) == 4
    (newest,) = (tmp_path / "all" / "checkpoints").glob("*.pt")
    extra = torch.load(newest, weights_only=True)["extra"]
    assert (extra["skipped"], extra["went_back"]) == (2, 0)  # there was nothing to go back to
    with pytest.raises(ValueError, match="again in another order"):  # the next attempt knows
        run("all", nonfinite=2)
    assert len(seen) == 6


def test_unreadable_images_are_replaced_as_long_as_few_are(run, roots, tmp_path, caplog):
    root = tmp_path / "ade20k"
    shutil.copytree(roots["ade20k"], root)
    spoilt = sorted((root / "images" / "training").iterdir())[3]
    spoilt.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"1 unreadable .* at most 0 .*{spoilt.name}"):
        run("strict", root)
    caplog.clear()
    out = run("lenient", root, bad_images=0.1)
    assert caplog.text.count("unreadable image, another is taken") == 1
    newest = max((out / "checkpoints").glob("*.pt"))
    named = torch.load(newest, weights_only=True)["extra"]["unreadable"]
    assert [text.partition(": ")[0] for text in named.values()] == [str(spoilt)]


def test_a_batch_norm_that_saw_parts_before_a_stop_is_told(run, monkeypatch):
    from transfer.mmseg_adapter.training import StepHook

    before = StepHook.after_train_iter

    def stop(self, runner, *words, **settings):
        signal.raise_signal(signal.SIGTERM)  # os.kill may reach a thread later
        before(self, runner, *words, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(StepHook, "after_train_iter", stop)
        with pytest.raises(SystemExit):
            run("cut", micro_batch=2)
    out = run("cut", micro_batch=4)
    assert facts(out)["training"]["micro_batch"] == 4
    assert facts(out)["deviations"] == ["BatchNorm over 2 images, published 4"]


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False), (True, True)])
def test_a_run_goes_on_in_another_precision(monkeypatch, before, after):
    """fp16 alone has a loss scale; torch refuses the empty state of a scaler that is off."""
    from mmengine.optim.optimizer import amp_optimizer_wrapper as amp

    from transfer.mmseg_adapter.wrapper import AmpWrapper

    monkeypatch.setattr(amp, "is_cuda_available", lambda: True)
    monkeypatch.setattr(amp, "GradScaler", lambda **words: torch.amp.GradScaler("cpu", **words))

    def wrapper(fp16):
        optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters())
        scale = {"enabled": fp16, "init_scale": 8.0 if fp16 is before else 4.0}
        return AmpWrapper(optimizer=optimizer, loss_scale=scale)

    old, new = wrapper(before), wrapper(after)
    old.optimizer.param_groups[0]["lr"] = 0.5
    new.load_state_dict(old.state_dict())
    assert new.optimizer.param_groups[0]["lr"] == 0.5
    expected = {(False, True): 4.0, (True, True): 8.0, (True, False): 1.0}
    assert new.loss_scaler.get_scale() == expected[before, after]


def test_a_run_with_a_loss_scale_goes_on_without_one():
    from transfer.mmseg_adapter.wrapper import PlainWrapper

    optimizer = torch.optim.AdamW(nn.Linear(2, 2).parameters())
    state = optimizer.state_dict() | {"loss_scaler": {"scale": 8.0}}
    plain = PlainWrapper(torch.float32, optimizer=optimizer)
    plain.load_state_dict(state)
    assert "loss_scaler" not in plain.state_dict()
