import copy
import dataclasses
import json
import os
import signal
import threading
import time

import pytest
import torch
from PIL import Image

from mae_bench.core.files import FACTS
from mae_bench.core.recipe import Context
from mae_bench.kit import pace
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.optim import layer_decay_groups
from mae_bench.kit.spec import named_spec
from mae_bench.suite.store import check_metrics
from transfer.classification import FineTuning, classifier, finetune, untrained
from transfer.imagenet_finetune import ImagenetFinetune
from transfer.imagenet_partial import BLOCKS, ImagenetPartial, metric_name
from transfer.partial import PartialFineTuning, exists, partial

SMALL = {"epochs": 2, "warmup_epochs": 1, "batch_size": 8, "drop_path": 0.5, "mixup": 0.8}
PARTIAL = dataclasses.replace(ImagenetPartial.demo(), **SMALL)
DEPTH = 4
HALF = ("blocks.3.norm2.", "blocks.3.mlp.")
NEW = ("fc_norm.", "head.")
MOVES = {
    "0": NEW,
    "0.5": (*HALF, *NEW),
    "1": ("blocks.3.", *NEW),
    "2": ("blocks.2.", "blocks.3.", *NEW),
    "all": ("",),
}


def batch():
    torch.manual_seed(7)
    return torch.randint(0, 255, (8, 3, 64, 64), dtype=torch.uint8), torch.arange(8)


@pytest.mark.parametrize("blocks", MOVES)
def test_what_is_frozen_stays_bit_equal_and_what_is_trained_changes(encoder_of, blocks):
    module = PartialFineTuning(PARTIAL, untrained(PARTIAL, 0, encoder_of(), 8), blocks).train()
    before = copy.deepcopy(module.model.state_dict())
    groups = layer_decay_groups(module.model, DEPTH, PARTIAL.layer_decay, 0.05)
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    for _ in range(2):  # the head starts near zero: the first step hardly reaches what is below
        module(*batch()).backward()
        frozen = [p for p in module.parameters() if not p.requires_grad]
        assert all(p.grad is None for p in frozen)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    for name, tensor in module.model.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith(MOVES[blocks]), name
    moving = {id(p) for p in module.parameters() if p.requires_grad}
    assert {id(p) for p in optimizer.state} == moving


@pytest.mark.parametrize("blocks", MOVES)
def test_only_what_is_trained_drops_paths(encoder_of, blocks):
    module = PartialFineTuning(PARTIAL, untrained(PARTIAL, 0, encoder_of(), 8), blocks)
    kinds = {name: part for name, part in module.model.named_modules() if "drop_path" in name}
    half = {"blocks.3.drop_path2"}
    for mode in (True, False, True):
        module.train(mode)
        training = {name for name, part in kinds.items() if part.training}
        expected = {name for name in kinds if f"{name}.".startswith(MOVES[blocks])}
        assert training == ((half if blocks == "0.5" else expected) if mode else set())
    before = module.model.encode(torch.ones(2, 3, 64, 64))
    again = module.model.encode(torch.ones(2, 3, 64, 64))
    assert torch.equal(before, again) == (blocks == "0")


def test_layer_scale_of_the_trained_half_is_trained(encoder_of):
    spec = dataclasses.replace(named_spec("vit_smoke_patch8", 64, "mae"), layer_scale=True)
    module = PartialFineTuning(PARTIAL, classifier(encoder_of(0, spec), 8, "avg"), "0.5")
    names = {n for n, p in module.model.named_parameters() if p.requires_grad}
    assert "blocks.3.ls2.gamma" in names
    assert "blocks.3.ls1.gamma" not in names


def test_a_frozen_block_needs_no_memory_for_its_gradient(encoder_of):
    module = PartialFineTuning(PARTIAL, untrained(PARTIAL, 0, encoder_of(), 8), "1").train()
    seen = []
    for block in module.model.blocks:
        block.register_forward_hook(lambda _, args, out: seen.append(out.requires_grad))
    module(*batch())
    assert seen == [False, False, False, True]


def test_numbers_of_blocks_not_below_the_depth_do_not_exist():
    assert [b for b in BLOCKS if exists(b, 24)] == list(BLOCKS)  # ViT-L, as in the paper
    assert [b for b in BLOCKS if exists(b, 12)] == ["0", "0.5", "1", "2", "4", "6", "all"]
    assert [b for b in BLOCKS if exists(b, 4)] == ["0", "0.5", "1", "2", "all"]


def test_all_blocks_is_fine_tuning(tmp_path, write, roots):
    fields = dataclasses.asdict(PARTIAL)
    del fields["blocks"]
    for name in ("partial", "whole"):
        (tmp_path / name).mkdir()
    data, encoder = roots["imagenet"], write()
    one = dataclasses.replace(PARTIAL, blocks=("all",))
    scores = partial(one, Context(tmp_path / "partial", 3, data, encoder))
    finetune(ImagenetFinetune(**fields), Context(tmp_path / "whole", 3, data, encoder))
    state, expected = (
        Checkpoints(folder / "checkpoints").newest()["module"]
        for folder in (tmp_path / "partial" / "blocks-all", tmp_path / "whole")
    )
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert list(scores) == ["top1_all"]


def test_each_number_of_blocks_is_measured_and_drawn_and_the_seed_decides(tmp_path, write, roots):
    recipe = dataclasses.replace(PARTIAL, blocks=("0", "0.5", "6", "all"))
    scores = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        scores.append(partial(recipe, Context(tmp_path / name, 3, roots["imagenet"], write())))
    assert scores[0] == scores[1]
    assert list(scores[0]) == ["top1_0", "top1_0p5", "top1_all"]
    check_metrics(scores[0], ImagenetPartial.metrics)
    with Image.open(tmp_path / "a" / "figures" / "partial.png") as picture:
        assert min(picture.size) >= 400
    facts = json.loads((tmp_path / "a" / FACTS).read_text())
    assert facts["encoder"]["arch"] == "vit_smoke_patch8"
    assert any("the best of 50, 100 and 200" in line for line in facts["deviations"])
    assert "6 blocks: not of an encoder with 4" in facts["deviations"]


def test_an_encoder_without_any_of_the_numbers_is_refused(tmp_path, write, roots):
    recipe = dataclasses.replace(PARTIAL, blocks=("6", "12"))
    with pytest.raises(ValueError, match="a number below the encoder's depth 4 or all"):
        partial(recipe, Context(tmp_path, 0, roots["imagenet"], write()))


@pytest.mark.parametrize("blocks", [(), ("3",), ("1", "1")])
def test_unknown_and_repeated_numbers_are_refused(blocks):
    with pytest.raises(ValueError, match=r"imagenet_partial\.blocks must be distinct among"):
        ImagenetPartial(blocks=blocks)


def test_the_encoder_reaches_the_head_of_every_number(encoder_of):
    images = torch.randn(2, 3, 64, 64)
    for blocks in MOVES:
        features = [
            PartialFineTuning(PARTIAL, untrained(PARTIAL, 0, encoder_of(seed), 8), blocks)
            .eval()
            .model.features(images)
            for seed in (0, 1)
        ]
        assert (features[0] - features[1]).abs().mean() > 0.1


def test_published_values_are_those_of_table_9():
    for arch, drop_path in (("base_patch16", 0.1), ("large_patch16", 0.1), ("huge_patch14", 0.2)):
        recipe = ImagenetPartial.published(f"vit_{arch}", "mae")
        assert (recipe.lr_per_256, recipe.layer_decay, recipe.erasing) == (1e-3, 0.75, 0.0)
        assert (recipe.drop_path, recipe.epochs, recipe.warmup_epochs) == (drop_path, 100, 5)
        assert (recipe.batch_size, recipe.weight_decay) == (1024, 0.05)
        assert recipe.rand_augment == "rand-m9-mstd0.5-inc1"
        assert [metric.name for metric in recipe.metrics] == list(map(metric_name, recipe.blocks))


def signal_when(path):
    """Send SIGTERM to this process once the file is there."""

    def wait():
        while not path.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def test_a_stopped_run_keeps_what_is_trained_and_ends_with_the_same_numbers(
    tmp_path, write, roots, monkeypatch
):
    monkeypatch.setattr(pace, "LOG_EVERY_S", -1.0)
    recipe = dataclasses.replace(PARTIAL, blocks=("0", "0.5"), epochs=12)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    data, encoder = roots["imagenet"], write()
    expected = partial(recipe, Context(tmp_path / "whole", 1, data, encoder))
    cut = Context(tmp_path / "cut", 1, data, encoder)
    half = cut.out / "blocks-0.5"
    signal_when(half / "metrics.jsonl")  # written after the first step
    with pytest.raises(SystemExit) as stop:
        partial(recipe, cut)
    assert stop.value.code == 75
    (kept,) = (half / "checkpoints").glob("step-*.pt")
    assert 0 < int(kept.name.split("-")[1]) < 48
    assert not (half / "top1.json").exists()
    done = cut.out / "blocks-0"
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*")}
    lines = (half / "metrics.jsonl").read_text().splitlines()
    assert partial(recipe, cut) == expected
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*")} == before
    after = (half / "metrics.jsonl").read_text().splitlines()
    assert after[: len(lines)] == lines
    states = [
        Checkpoints(tmp_path / name / "blocks-0.5" / "checkpoints").newest()["module"]
        for name in ("whole", "cut")
    ]
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())


def test_a_number_kept_of_another_training_is_not_believed(tmp_path, write, roots):
    recipe = dataclasses.replace(PARTIAL, blocks=("0",))
    ctx = Context(tmp_path, 1, roots["imagenet"], write())
    found = partial(recipe, ctx)
    path = tmp_path / "blocks-0" / "top1.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "top1": 99.5}))
    assert partial(recipe, ctx) == {"top1_0": 99.5}  # it is read, not trained again
    path.write_text(json.dumps({**kept, "top1": 99.5, "seed": 2}))
    assert partial(recipe, ctx) == found
    path.write_text("{")
    assert partial(recipe, ctx) == found


def test_fine_tuning_itself_still_trains_everything(encoder_of):
    module = FineTuning(PARTIAL, untrained(PARTIAL, 0, encoder_of(), 8))
    assert all(p.requires_grad for p in module.parameters())
