import errno
import json
import os
import signal
from itertools import chain

import pytest
import torch
from torch import nn

from mae_bench.core.compute import Compute
from mae_bench.core.files import last_progress
from mae_bench.kit import pace
from mae_bench.kit.augment import Mixing
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.datasets import Order
from mae_bench.kit.guard import Guard
from mae_bench.kit.keeper import ALONE
from mae_bench.kit.loop import train
from mae_bench.kit.machine import Machine
from mae_bench.kit.split import split_batch
from mae_bench.kit.training import Training


class Noisy(nn.Module):
    """A model whose loss draws from the global generator, as masking does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen = []
        self.signal_after = None
        self.bad_steps = ()

    def forward(self, images, labels):
        self.seen.append(images[:, 0].tolist())
        if self.signal_after == len(self.seen):
            os.kill(os.getpid(), signal.SIGTERM)
        noise = torch.randn(len(images), 4)
        loss = (self.layer(images.float() / 40 + noise) - 1).square().mean()
        return loss * float("nan") if len(self.seen) in self.bad_steps else loss


def build(out, fused=True, identity=None, **compute):
    order = Order(num_images=40, batch_size=8, epochs=3, seed=5)

    def batches(start, detour, split):
        for places in order.batches(start, detour):
            for part in range(split.parts):
                index = torch.tensor([i for _, i in places[split.rows(part)]])
                yield index[:, None].expand(-1, 4), torch.zeros(len(index))

    torch.manual_seed(0)
    module = Noisy()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0, fused=fused)
    training = Training(
        out=out,
        seed=5,
        steps=12,
        steps_per_epoch=order.steps_per_epoch,
        batch_size=8,
        batches=batches,
        lr_at=lambda epoch: 0.01,
        machine=Machine(ALONE.ranks, Compute(**compute)),
        identity=identity or {},
    )
    return module, optimizer, training


def read_facts(out):
    return json.loads((out / "facts.json").read_text())["training"]


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11])
def test_a_run_stopped_by_a_signal_and_resumed_ends_bit_equal(tmp_path, stop):
    whole = build(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    train(*whole)
    (tmp_path / "cut").mkdir()
    cut = build(tmp_path / "cut")
    cut[0].signal_after = stop
    with pytest.raises(SystemExit) as end:
        train(*cut)
    assert end.value.code == 75
    assert len(cut[0].seen) == stop
    resumed = build(tmp_path / "cut")
    train(*resumed)
    assert cut[0].seen + resumed[0].seen == whole[0].seen
    assert torch.equal(weights(resumed[0]), weights(whole[0]))
    assert last_progress(tmp_path / "cut")["step"] == 12


def test_a_finished_run_started_again_takes_no_step(tmp_path):
    first = build(tmp_path)
    train(*first)
    again = build(tmp_path)
    train(*again)
    assert again[0].seen == []
    assert torch.equal(weights(again[0]), weights(first[0]))


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1, "w": torch.ones(100)})
    checkpoints.save(2, {"step": 2, "w": torch.zeros(100)})
    path = max(tmp_path.glob("step-*.pt"))
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncate": content[:-10], "flip": content, "empty": b""}[damage])
    assert checkpoints.newest()["step"] == 1
    assert path.with_suffix(".damaged").exists()


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(5):
        checkpoints.save(step, {"step": step})
    assert [p.name[:14] for p in sorted(tmp_path.iterdir())] == ["step-000000003", "step-000000004"]


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_whose_loss_is_not_finite_is_left_out_and_counted(tmp_path, fused):
    module, optimizer, training = build(tmp_path, fused)
    module.bad_steps = (4,)
    before = {}
    module.after_step = lambda progress: before.update({len(module.seen): weights(module)})
    train(module, optimizer, training)
    assert torch.equal(before[4], before[3])
    assert not torch.equal(before[5], before[4])
    assert read_facts(tmp_path)["skipped_steps"] == 1
    assert last_progress(tmp_path)["skipped"] == 1


def test_several_bad_losses_in_a_row_lead_back_to_the_checkpoint_and_on_in_another_order(tmp_path):
    module, optimizer, training = build(tmp_path)
    module.signal_after = 5
    with pytest.raises(SystemExit):
        train(module, optimizer, training)
    module, optimizer, training = build(tmp_path)
    module.bad_steps = (2, 3, 4)
    train(module, optimizer, training)
    first, again = module.seen[:4], module.seen[4:]
    assert len(again) == 7
    assert first[0] != again[0]
    facts = read_facts(tmp_path)
    assert (facts["went_back"], facts["skipped_steps"]) == (1, 3)


def test_a_run_that_diverges_again_fails(tmp_path):
    module, optimizer, training = build(tmp_path)
    module.bad_steps = tuple(range(3, 20))
    with pytest.raises(ValueError, match="the run diverged: 3 losses in a row were not finite"):
        train(module, optimizer, training)


def test_another_configuration_is_refused_with_the_fields_that_differ(tmp_path):
    module, optimizer, training = build(tmp_path, identity={"mask_ratio": 0.75, "seed": 0})
    module.signal_after = 5
    with pytest.raises(SystemExit):
        train(module, optimizer, training)
    other = {"mask_ratio": 0.6, "seed": 0}
    with pytest.raises(ValueError, match=r"mask_ratio: 0\.75 in the checkpoint, 0\.6 now"):
        train(*build(tmp_path, identity=other))
    train(*build(tmp_path, identity=other, force=True))
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert "mask_ratio" in facts["resumed_from_another_configuration"][0]


@pytest.mark.parametrize("micro", [1, 2, 4, 8])
def test_accumulation_sees_the_same_images(tmp_path, micro):
    whole = build(tmp_path / "whole")
    parts = build(tmp_path / "parts", micro_batch=micro)
    for run in (whole, parts):
        run[2].out.mkdir()
        train(*run)
    assert list(chain(*parts[0].seen)) == list(chain(*whole[0].seen))
    assert len(parts[0].seen) == 12 * 8 // micro


def test_a_second_signal_does_not_break_the_save(tmp_path, monkeypatch):
    module, optimizer, training = build(tmp_path)
    module.signal_after = 3
    save = Checkpoints.save

    def interrupted(self, step, state):
        os.kill(os.getpid(), signal.SIGTERM)
        save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(SystemExit) as end:
        train(module, optimizer, training)
    assert end.value.code == 75
    assert Checkpoints(tmp_path / "checkpoints").newest()["step"] == 3


def test_all_checkpoints_damaged_is_an_error_and_no_fresh_start(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})
    next(tmp_path.glob("*.pt")).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"every checkpoint in .* is damaged"):
            checkpoints.newest()


def test_a_step_saved_again_replaces_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for number in range(6):
        checkpoints.save(3, {"step": 3, "number": number})
        assert checkpoints.newest()["number"] == number
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("fused", [True, False])
def test_a_gradient_that_is_not_finite_keeps_the_step_out_in_half_precision(fused):
    layer = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    guard = Guard(optimizer, torch.device("cpu"), limit=3, check_gradients=True)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[1.0, float("inf")]])
    assert guard.step(torch.tensor(0.5)).isnan()
    assert torch.equal(layer.weight, before)
    layer.weight.grad = torch.ones(1, 2)
    assert guard.step(torch.tensor(0.5)) == 0.5
    assert not torch.equal(layer.weight, before)


def test_weights_after_a_bad_loss_are_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(pace, "SAVE_EVERY_S", -1.0)
    monkeypatch.setattr(pace, "SAVE_SHARE", float("inf"))
    module, optimizer, training = build(tmp_path, keep=20)
    module.bad_steps = (5, 6)
    train(module, optimizer, training)
    saved = sorted(int(p.name[5:14]) for p in (tmp_path / "checkpoints").iterdir())
    assert saved == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12]


def test_a_resumed_run_keeps_its_micro_batch(tmp_path):
    module, optimizer, training = build(tmp_path, micro_batch=2)
    module.signal_after = 9
    with pytest.raises(SystemExit):
        train(module, optimizer, training)
    module, optimizer, training = build(tmp_path)
    train(module, optimizer, training)
    assert {len(images) for images in module.seen} == {2}


def test_mixing_refuses_an_odd_number_of_images():
    mixing = Mixing(4, mixup=0.8, cutmix=1.0, smoothing=0.1, erasing=0.0)
    assert mixing.multiple == 2
    with pytest.raises(ValueError, match="even micro-batch, got 3 images"):
        mixing(torch.zeros(3, 3, 8, 8), torch.zeros(3, dtype=torch.long))


def test_a_full_disk_keeps_the_old_checkpoint_and_says_how_much_is_needed(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1, "w": torch.ones(1000)})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mae_bench.core.files.os.fsync", full)
    with pytest.raises(ValueError, match=r"step 2: \d{4} bytes needed in .* one before is kept"):
        checkpoints.save(2, {"step": 2, "w": torch.ones(1000)})
    assert checkpoints.newest()["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_for_logs_costs_lines_and_not_the_run(tmp_path, monkeypatch, caplog):
    module, optimizer, training = build(tmp_path)
    monkeypatch.setattr(pace, "LOG_EVERY_S", -1.0)

    def full(*words, **values):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mae_bench.kit.keeper.append_metrics", full)
    train(module, optimizer, training)
    assert len(module.seen) == 12
    assert caplog.text.count("progress is not logged any more") == 1


def test_batches_are_divided_without_remainder():
    assert [split_batch(16, rank, 2, 4).rows(part) for rank in (0, 1) for part in (0, 1)] == [
        slice(0, 4),
        slice(4, 8),
        slice(8, 12),
        slice(12, 16),
    ]


@pytest.mark.parametrize(
    ("world", "micro", "message"),
    [
        (3, 1, "16 cannot be divided over 3 processes; possible numbers: 1, 2, 4, 8, 16"),
        (2, 3, "a micro-batch of 3 does not divide the 8 images .* possible: 1, 2, 4, 8"),
        (1, 32, "possible: 1, 2, 4, 8, 16"),
    ],
)
def test_an_impossible_split_lists_the_possible_ones(world, micro, message):
    with pytest.raises(ValueError, match=message):
        split_batch(16, 0, world, micro)


def test_an_epoch_visits_every_image_once_whatever_the_start():
    order = Order(num_images=10, batch_size=5, epochs=2, seed=0)
    whole = list(order.batches(0))
    epochs = [sorted(i for _, i in chain(*whole[at : at + 2])) for at in (0, 2)]
    assert epochs == [list(range(10))] * 2
    assert [list(order.batches(s)) for s in range(4)] == [whole[s:] for s in range(4)]
    assert list(order.batches(0, detour=1)) != whole
    assert whole[:2] != [[(0, i) for _, i in batch] for batch in whole[2:]]


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="batch_size 64 is larger than the training set of 40"):
        Order(num_images=40, batch_size=64, epochs=1, seed=0)
