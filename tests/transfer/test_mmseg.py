import dataclasses
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from mae_bench.core.recipe import Context
from mae_bench.kit.fit import at_image_size, for_toolbox
from mae_bench.kit.pos_embed import resize_pos_embed
from mae_bench.kit.vit import VisionTransformer
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter import segment as engine
from transfer.mmseg_adapter.data import build_dataset, eval_pipeline, train_loader
from transfer.mmseg_adapter.model import (
    build_segmenter,
    import_mmseg,
    lr_factor,
    model_config,
    parameter_groups,
    segmenter_layer,
)
from transfer.mmseg_adapter.segment import segment

TINY = dataclasses.replace(
    Ade20kUperNet.demo(),
    crop_size=32,
    stride=16,
    short_side=64,
    long_side=128,
    iterations=4,
    warmup_iterations=1,
    batch_size=2,
    head_width=8,
    auxiliary_width=8,
)


def build(encoder, recipe=TINY):
    fitting = at_image_size(for_toolbox(encoder, "mmsegmentation"), recipe.crop_size)
    return build_segmenter(model_config(recipe, fitting, 12), fitting)


def test_every_encoder_tensor_arrives_in_the_segmenter(encoder_of):
    encoder = encoder_of()
    state = build(encoder).backbone.state_dict()
    assert torch.equal(state["cls_token"], encoder.state["cls_token"])
    resized = resize_pos_embed(encoder.state["pos_embed"], (4, 4))
    assert torch.equal(state["pos_embed"], resized)
    pairs = {"norm1": "ln1", "norm2": "ln2", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj"}
    pairs |= {"mlp.fc1": "ffn.layers.0.0", "mlp.fc2": "ffn.layers.1"}
    for i in range(4):
        for ours, theirs in pairs.items():
            for kind in ("weight", "bias"):
                given = encoder.state[f"blocks.{i}.{ours}.{kind}"]
                assert torch.equal(state[f"layers.{i}.{theirs}.{kind}"], given)
        assert not state[f"layers.{i}.attn.relative_position_bias_table"].any()
        assert (state[f"layers.{i}.gamma_1"] == 1).all()


def test_a_missing_tensor_is_refused_by_name(without):
    with pytest.raises(ValueError, match=r"missing layers\.1\.ln2\.weight"):
        build(without("blocks.1.norm2.weight"))


def test_taps_change_with_the_encoder_and_are_those_of_our_vit(encoder_of):
    images = torch.randn(2, 3, 64, 64)
    recipe = dataclasses.replace(TINY, crop_size=64)
    last = []
    for seed in (0, 1):
        encoder = encoder_of(seed)
        taps = build(encoder, recipe).eval().backbone(images)
        ours = VisionTransformer(encoder.spec).eval()
        ours.load_state_dict(encoder.state)
        tokens = ours.embed(images)
        for block, tap in zip(ours.blocks, taps, strict=True):
            tokens = block(tokens)
            found = tap.flatten(2).transpose(1, 2)
            torch.testing.assert_close(found, tokens[:, 1:], atol=1e-4, rtol=1e-4)
        last.append(taps[-1])
    assert (last[0] - last[1]).abs().mean() > 0.1


def test_layer_decay_reaches_every_block_and_positions_do_not_decay(encoder_of):
    recipe = dataclasses.replace(TINY, lr=1.0, layer_decay=0.5, weight_decay=0.05)
    model = build(encoder_of(), recipe)
    groups = parameter_groups(model, recipe, depth=4)
    found = {n: (g["lr"], g["weight_decay"]) for g in groups for n in g["names"]}
    assert found["backbone.pos_embed"] == (0.5**5, 0.0)
    assert found["backbone.cls_token"] == (0.5**5, 0.0)
    assert found["backbone.patch_embed.projection.weight"] == (0.5**5, 0.05)
    for i in range(4):
        assert found[f"backbone.layers.{i}.attn.qkv.weight"] == (0.5 ** (4 - i), 0.05)
        assert found[f"backbone.layers.{i}.ln1.weight"] == (0.5 ** (4 - i), 0.0)
    assert found["decode_head.conv_seg.weight"] == (1.0, 0.05)
    assert found["decode_head.conv_seg.bias"] == (1.0, 0.0)
    assert found.keys() == dict(model.named_parameters()).keys()


def test_an_unknown_backbone_parameter_is_refused():
    with pytest.raises(ValueError, match=r"'backbone\.adapter\.weight'"):
        segmenter_layer("backbone.adapter.weight", 4)


def test_mmsegmentations_own_constructor_decays_positions(encoder_of):
    """The trap that ours avoids; if this fails, upstream has mended it."""
    import_mmseg()
    from mmengine.optim import build_optim_wrapper

    model = build(encoder_of())
    config = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1.0, "weight_decay": 0.05},
        "constructor": "LayerDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": 4, "layer_decay_rate": 0.5},
    }
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay[id(model.backbone.pos_embed)] == 0.05


def test_label_zero_is_ignored_and_the_others_move_down(roots):
    import_mmseg()
    dataset = build_dataset(roots["ade20k"], "validation", eval_pipeline(TINY))
    sample = dataset[0]["data_samples"]
    found = sample.gt_sem_seg.data.squeeze(0).numpy()
    path = roots["ade20k"] / "annotations" / "validation" / "ADE_val_00000001.png"
    label = np.asarray(Image.open(path)).astype(int)
    assert np.array_equal(found, np.where(label == 0, 255, label - 1))
    assert len(dataset) == 8


def test_batches_are_the_same_from_any_start(roots):
    import_mmseg()
    whole = list(train_loader(TINY, roots["ade20k"], 3, 0))
    late = list(train_loader(TINY, roots["ade20k"], 3, 2))
    assert len(late) == len(whole) - 2
    for a, b in zip(whole[2:], late, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a["inputs"], b["inputs"], strict=True))


def test_the_schedule_warms_up_from_a_millionth_and_falls_to_zero():
    recipe = Ade20kUperNet()
    assert lr_factor(recipe, 0) == pytest.approx(1e-6)
    assert lr_factor(recipe, 1500) == 1.0
    assert lr_factor(recipe, 80750) == pytest.approx(0.5)
    assert lr_factor(recipe, 160000) == 0.0


def test_taps_deeper_than_the_encoder_are_refused(encoder_of):
    with pytest.raises(ValueError, match="taps must be below the encoder's depth 4"):
        build(encoder_of(), dataclasses.replace(TINY, taps=(3, 5, 7, 11)))


def test_a_run_stopped_and_resumed_ends_with_the_same_numbers_and_weights(
    tmp_path, write, roots, monkeypatch
):
    def context(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return Context(tmp_path / name, 1, roots["ade20k"], write())

    whole = segment(TINY, context("whole"))
    assert 0 < whole["miou"] <= 100
    assert math.isfinite(whole["miou"])
    before = engine.KeeperHook.before_train_iter
    count = iter(range(100))

    def stop_at_two(self, runner, batch_idx, data_batch=None):
        if next(count) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        before(self, runner, batch_idx, data_batch)

    with monkeypatch.context() as patch:
        patch.setattr(engine.KeeperHook, "before_train_iter", stop_at_two)
        with pytest.raises(SystemExit) as end:
            segment(TINY, context("cut"))
    assert end.value.code == 75
    assert segment(TINY, context("cut")) == whole
    finals = [
        torch.load(max((tmp_path / name / "checkpoints").glob("*.pt")), weights_only=True)
        for name in ("whole", "cut")
    ]
    for name, tensor in finals[0]["module"].items():
        assert torch.equal(tensor, finals[1]["module"][name]), name
    facts = json.loads((tmp_path / "cut" / "facts.json").read_text())
    assert len(facts["iou"]) == 12
    assert (tmp_path / "cut" / "figures" / "segmentations.png").stat().st_size > 1000
    assert json.loads((tmp_path / "cut" / "config.json").read_text())["model"]["test_cfg"][
        "stride"
    ] == [16, 16]


def test_published_values_are_those_of_mmsegmentations_mae_config():
    base = Ade20kUperNet.published("vit_base_patch16", "mae")
    large = Ade20kUperNet.published("vit_large_patch16", "mae")
    assert (base.taps, large.taps) == ((3, 5, 7, 11), (7, 11, 15, 23))
    assert (base.iterations, base.batch_size, base.lr, base.layer_decay) == (160000, 16, 1e-4, 0.65)
    assert (base.crop_size, base.stride, base.warmup_iterations) == (512, 341, 1500)
