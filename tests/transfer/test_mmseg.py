import copy
import dataclasses
from pathlib import Path

import pytest
import torch

from mae_bench.core.compute import Compute
from mae_bench.kit.machine import Machine
from mae_bench.kit.pos_embed import resize_pos_embed
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter.model import build_segmenter, fitted, model_config
from transfer.mmseg_adapter.rules import (
    parameter_groups,
    require_rows,
    segmenter_layer,
    training_dtype,
)
from transfer.mmseg_adapter.toolbox import import_mmseg

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
    fitting = fitted(encoder, recipe)
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


def test_taps_deeper_than_the_encoder_are_refused(encoder_of):
    with pytest.raises(ValueError, match="taps must be below the encoder's depth 4"):
        build(encoder_of(), dataclasses.replace(TINY, taps=(3, 5, 7, 11)))


def test_blocks_after_the_last_tap_do_not_train(encoder_of):
    model = build(encoder_of(), dataclasses.replace(TINY, taps=(0, 1, 2, 3)))
    assert all(p.requires_grad for p in model.parameters())
    deeper = named_spec("vit_smoke_patch8", 64, origin="mae")
    recipe = dataclasses.replace(TINY, taps=(0, 1, 2, 3))
    model = build(encoder_of(0, dataclasses.replace(deeper, depth=5)), recipe)
    still = {n.split(".")[2] for n, p in model.named_parameters() if not p.requires_grad}
    assert still == {"4"}
    names = {n for g in parameter_groups(model, recipe, 5) for n in g["names"]}
    assert not any(name.startswith("backbone.layers.4") for name in names)


def theirs(model, recipe):
    """Return (learning rate, decay) of every parameter by mmsegmentation's own constructor."""
    from mmengine.optim import build_optim_wrapper

    optimizer = {"type": "AdamW", "lr": recipe.lr, "weight_decay": recipe.weight_decay}
    config = {
        "type": "OptimWrapper",
        "optimizer": optimizer,
        "constructor": "LayerDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": 4, "layer_decay_rate": recipe.layer_decay},
    }
    groups = build_optim_wrapper(model, config).optimizer.param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    return {name: found[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("rules", ["mended", "mmsegmentation"])
def test_groups_are_mmsegmentations_but_for_position_and_cls_token(encoder_of, rules):
    recipe = dataclasses.replace(TINY, layer_decay=0.65, training_rules=rules)
    model = build(encoder_of(), recipe)
    expected = theirs(model, recipe)
    groups = parameter_groups(model, recipe, 4)
    ours = {n: (g["lr"], g["weight_decay"]) for g in groups for n in g["names"]}
    assert ours.keys() == expected.keys()
    differing = {n for n in ours if ours[n] != pytest.approx(expected[n], rel=1e-12)}
    positions = {"backbone.pos_embed", "backbone.cls_token"}
    assert differing == (positions if rules == "mended" else set())
    for name in differing:
        assert (ours[name][1], expected[name][1]) == (0.0, 0.05)


def machine(**compute):
    return Machine(Ranks(0, 1, torch.device("cpu")), Compute(**compute))


def test_settings_that_cannot_be_followed_are_refused():
    for settings in ({"compile": "on"}, {"shard": "fsdp"}, {"precision": "fp16"}):
        with pytest.raises(ValueError, match=r"leave out|use --precision"):
            training_dtype(TINY, machine(**settings))
    slips = dataclasses.replace(TINY, training_rules="mmsegmentation")
    with pytest.raises(ValueError, match="trains in fp32, and precision is bf16"):
        training_dtype(slips, machine(precision="bf16"))
    assert training_dtype(slips, machine()) == torch.float32
    assert training_dtype(TINY, machine(precision="bf16")) == torch.bfloat16
    with pytest.raises(ValueError, match="at least 2 images in a forward pass"):
        require_rows(TINY, 1)


def flat(config, prefix=""):
    """Return every leaf of a config by its dotted name; sequences are compared as tuples."""
    leaves = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            leaves |= flat(value, name + ".")
        else:
            leaves[name] = tuple(value) if isinstance(value, (list, tuple)) else value
    return leaves


def upstream():
    """Return the config that mmsegmentation ships for MAE on ADE20K."""
    mmseg = import_mmseg()
    from mmengine.config import Config

    name = "mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py"
    return Config.fromfile(str(Path(mmseg.__file__).parent / ".mim" / "configs" / "mae" / name))


@pytest.mark.parametrize(
    ("arch", "differs"),
    [
        ("vit_base_patch16", {}),
        (
            "vit_large_patch16",
            {
                "backbone.embed_dims": 1024,
                "backbone.num_layers": 24,
                "backbone.num_heads": 16,
                "backbone.out_indices": (7, 11, 15, 23),
                "neck.embed_dim": 1024,
                "decode_head.in_channels": (1024,) * 4,
                "decode_head.channels": 1024,
                "auxiliary_head.in_channels": 1024,
            },
        ),
    ],
)
def test_the_model_is_that_of_mmsegmentations_config_field_by_field(arch, differs):
    recipe = Ade20kUperNet.published(arch, "mae")
    encoder = dataclasses.make_dataclass("Given", ["spec"])(named_spec(arch, 512, "mae"))
    ours, expected = flat(model_config(recipe, encoder, 150)), flat(upstream().model)
    assert expected.pop("pretrained").startswith("./pretrain/")  # load_exactly does it
    mended = {k: ours.pop(k) for k in list(ours) if k.startswith("data_preprocessor.test_cfg.")}
    assert mended == {"data_preprocessor.test_cfg.size": (512, 512)}
    assert ours == expected | differs


def test_pipelines_optimiser_and_schedule_are_those_of_mmsegmentations_config():
    from transfer.mmseg_adapter.data import eval_pipeline, plain_labels, train_pipeline
    from transfer.mmseg_adapter.resolved import _schedulers
    from transfer.mmseg_adapter.rules import BETAS

    recipe, config = Ade20kUperNet.published("vit_base_patch16", "mae"), upstream()
    labels = plain_labels(recipe, 150)
    plain = [dict(step) for step in config.train_pipeline]
    assert train_pipeline(recipe, labels, 150) == plain
    assert eval_pipeline(recipe, labels, 150) == [dict(step) for step in config.test_pipeline]
    given = config.optim_wrapper
    assert given.optimizer.to_dict() == {
        "type": "AdamW",
        "lr": recipe.lr,
        "betas": BETAS,
        "weight_decay": recipe.weight_decay,
    }
    assert given.paramwise_cfg.layer_decay_rate == recipe.layer_decay
    sort = [dict(sorted(one.items())) for one in _schedulers(recipe, 1)]
    assert sort == [dict(sorted(one.to_dict().items())) for one in config.param_scheduler]
    assert (config.train_cfg.max_iters, config.train_dataloader.batch_size * 8) == (
        recipe.iterations,
        recipe.batch_size,
    )


def test_the_stock_amp_config_trains_in_fp32():
    """The trap that ours avoids; if this fails, upstream has mended it."""
    from mmengine.optim import OptimWrapper, build_optim_wrapper

    config = upstream()
    model = torch.nn.Module()
    model.backbone = type("MAE", (torch.nn.Linear,), {})(2, 2)
    wrapper = build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
    assert type(wrapper) is OptimWrapper
    assert config.fp16 == {"loss_scale": "dynamic"}  # which nothing reads


def test_the_learning_rate_is_that_of_mmengines_schedulers():
    from mmengine.optim import LinearLR, PolyLR

    for warmup, iterations in ((1500, 160000), (20, 110), (0, 7), (2, 4)):
        recipe = dataclasses.replace(
            Ade20kUperNet(), iterations=iterations, warmup_iterations=warmup
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        rules = {"begin": warmup, "end": iterations, "by_epoch": False}
        schedulers = [PolyLR(optimizer, eta_min=0.0, power=1.0, **rules)]
        if warmup:
            rules |= {"begin": 0, "end": warmup}
            schedulers.insert(0, LinearLR(optimizer, start_factor=1e-6, **rules))
        optimizer.step()
        for iteration in range(min(iterations, 3000)):
            found = recipe.lr_factor(iteration)
            assert found == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
            for scheduler in schedulers:
                scheduler.step()
    assert Ade20kUperNet().lr_factor(159999) == 0.0


def test_published_values_are_those_of_mmsegmentations_mae_config():
    base = Ade20kUperNet.published("vit_base_patch16", "mae")
    large = Ade20kUperNet.published("vit_large_patch16", "supervised")
    assert (base.taps, large.taps) == ((3, 5, 7, 11), (7, 11, 15, 23))
    assert (base.iterations, base.batch_size, base.lr, base.layer_decay) == (160000, 16, 1e-4, 0.65)
    assert (base.crop_size, base.stride, base.warmup_iterations) == (512, 341, 1500)
