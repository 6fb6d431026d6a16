import os
import signal
from itertools import chain

import pytest
import torch
from torch import nn

from mae_bench.core.files import last_progress
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.datasets import Order
from mae_bench.kit.loop import Training, num_parts, train


class Noisy(nn.Module):
    """A model whose loss draws from the global generator, as masking does."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.seen = []
        self.signal_after = None

    def forward(self, images, labels):
        self.seen.append(images[:, 0].tolist())
        if self.signal_after == len(self.seen):
            os.kill(os.getpid(), signal.SIGTERM)
        noise = torch.randn(len(images), 4)
        return (self.layer(images.float() / 40 + noise) - 1).square().mean()


def build(out, steps=12):
    order = Order(num_images=40, batch_size=8, epochs=3, seed=5)

    def batches(start, parts):
        for places in order.batches(start, parts):
            index = torch.tensor([i for _, i in places])
            yield index[:, None].expand(-1, 4), torch.zeros(len(places))

    torch.manual_seed(0)
    module = Noisy()
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.0)
    training = Training(out, 5, steps, order.steps_per_epoch, 8, batches, lr_at=lambda e: 0.01)
    return module, optimizer, training


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


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
    module, optimizer, training = build(tmp_path)
    with torch.no_grad():
        module.layer.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="diverged: loss nan at step"):
        train(module, optimizer, training)


def test_parts_divide_the_batch_and_hold_at_most_256_images():
    assert [num_parts(b) for b in (1, 256, 257, 512, 4096)] == [1, 1, 257, 2, 16]


def test_an_epoch_visits_every_image_once_whatever_the_start():
    order = Order(num_images=10, batch_size=5, epochs=2, seed=0)
    whole = list(order.batches(0))
    epochs = [sorted(i for _, i in chain(*whole[at : at + 2])) for at in (0, 2)]
    assert epochs == [list(range(10))] * 2
    assert [list(order.batches(s)) for s in range(4)] == [whole[s:] for s in range(4)]
    assert list(chain(*order.batches(1, parts=5))) == list(chain(*whole[1:]))
    assert whole[:2] != [[(0, i) for _, i in batch] for batch in whole[2:]]


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="batch_size 64 is larger than the training set of 40"):
        Order(num_images=40, batch_size=64, epochs=1, seed=0)
