import dataclasses
import json
import os
import signal

import pytest
import torch
from detectron2.modeling import FPN
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import CosineParamScheduler
from torch import nn

from mae_bench.core.recipe import Context
from mae_bench.kit.batch_norm import synced
from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.keeper import ALONE
from mae_bench.kit.ranks import Ranks
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer
from transfer.coco_maskrcnn_fpn import CocoMaskRcnnFpn
from transfer.detectron2_adapter.detect import detect
from transfer.detectron2_adapter.fpn import HeadNorm, model_config
from transfer.detectron2_adapter.model import (
    build_detector,
    parameter_groups,
    quarter_ends,
    vit_of,
)
from transfer.detectron2_adapter.parts import attempt
from transfer.detectron2_adapter.trainer import PartsTrainer

TINY = dataclasses.replace(
    CocoMaskRcnnFpn.demo(),
    image_size=64,
    iterations=3,
    warmup_iterations=1,
    batch_size=2,
    pyramid_width=16,
    box_width=16,
    rpn_proposals=20,
    detections_per_image=5,
)
EIGHT = EncoderSpec(arch="eight", image_size=64, patch_size=8, width=32, depth=8, heads=2)


def build(encoder, recipe=TINY):
    fitting = for_toolbox(encoder, "detectron2")
    return build_detector(model_config(recipe, fitting, 8), fitting)


def test_taps_are_at_the_end_of_each_quarter():
    assert quarter_ends(12) == [2, 5, 8, 11]
    assert quarter_ends(24) == [5, 11, 17, 23]
    assert quarter_ends(32) == [7, 15, 23, 31]
    assert quarter_ends(4) == [0, 1, 2, 3]
    assert quarter_ends(6)[-1] == 5  # the last block's output is always used


def test_an_encoder_of_three_blocks_is_refused(encoder_of):
    short = dataclasses.replace(EIGHT, depth=3)
    with pytest.raises(ValueError, match=r"taps four blocks, the encoder has 3"):
        build(encoder_of(spec=short))


def test_every_encoder_tensor_arrives_and_the_new_ones_are_known(encoder_of):
    encoder = encoder_of(spec=EIGHT)
    state = vit_of(build(encoder)).state_dict()
    for name, tensor in encoder.state.items():
        if not name.startswith(("cls_token", "norm.")):
            assert torch.equal(state.pop(name), tensor), name
    windows = {0: 4, 1: 8, 2: 4, 3: 8, 4: 4, 5: 8, 6: 4, 7: 8}  # global at the taps: the grid
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {
        f"blocks.{i}.attn.relative_position_bias_table": ((2 * side - 1) ** 2, 2)
        for i, side in windows.items()
    }
    assert all((tensor == 0).all() for tensor in state.values())


def test_patch_14_becomes_16_and_its_grid_stays(encoder_of):
    spec = dataclasses.replace(EIGHT, image_size=56, patch_size=14)
    detector = build(encoder_of(spec=spec))
    assert vit_of(detector).state_dict()["patch_embed.proj.weight"].shape == (32, 3, 16, 16)
    assert detector.backbone.output_shape()["p2"].stride == 4


def test_a_missing_tensor_is_refused_by_name(without):
    with pytest.raises(ValueError, match=r"missing blocks\.2\.attn\.qkv\.bias"):
        build(without("blocks.2.attn.qkv.bias"))


def test_a_pyramid_as_wide_as_the_encoder_keeps_its_own_norms(encoder_of, wide_spec):
    detector = build(encoder_of(spec=wide_spec), dataclasses.replace(TINY, pyramid_width=256))
    norms = [
        m for m in detector.backbone.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))
    ]
    assert len(norms) == 9  # eight of the pyramid, one between the deconvolutions
    assert all(torch.equal(norm.weight, torch.ones(256)) for norm in norms)
    assert all(torch.equal(norm.bias, torch.zeros(256)) for norm in norms)


def test_taps_with_global_attention_are_our_blocks_and_change_with_the_encoder(encoder_of):
    images, features = torch.randn(2, 3, 64, 64), []
    for seed in (0, 1):
        encoder = encoder_of(seed, EIGHT)
        taps = vit_of(build(encoder, dataclasses.replace(TINY, window_size=0)).eval())(images)
        ours = VisionTransformer(encoder.spec).eval()
        ours.load_state_dict(encoder.state)
        tokens, expected = ours.embed(images)[:, 1:], []
        for number, block in enumerate(ours.blocks):
            tokens = block(tokens)
            if number in (1, 3, 5, 7):
                expected.append(tokens.transpose(1, 2).unflatten(2, (8, 8)))
        assert len(taps) == 4
        for found, one in zip(taps, expected, strict=True):
            torch.testing.assert_close(found, one, atol=1e-4, rtol=1e-4)
        features.append(torch.stack(taps))
    assert (features[0] - features[1]).abs().flatten(1).mean(dim=1).min() > 0.1


def test_window_attention_differs_from_global(encoder_of):
    images, encoder = torch.randn(1, 3, 64, 64), encoder_of(spec=EIGHT)
    found = [
        vit_of(build(encoder, dataclasses.replace(TINY, window_size=size)).eval())(images)[0]
        for size in (0, 4)
    ]
    assert (found[0] - found[1]).abs().mean() > 1e-3


def test_levels_have_the_strides_and_widths_of_the_paper(encoder_of):
    spec = dataclasses.replace(EIGHT, patch_size=16, width=64)
    detector = build(encoder_of(spec=spec), dataclasses.replace(TINY, pyramid_width=256)).eval()
    shapes = detector.backbone.output_shape()
    assert {name: (one.stride, one.channels) for name, one in shapes.items()} == {
        f"p{level}": (2**level, 256) for level in (2, 3, 4, 5, 6)
    }
    maps = detector.backbone.bottom_up(torch.randn(1, 3, 64, 64))
    assert [tuple(one.shape) for one in maps.values()] == [
        (1, 64, side, side) for side in (16, 8, 4, 2)
    ]
    levels = detector.backbone(torch.randn(1, 3, 64, 64))
    assert [levels[f"p{i}"].shape[-1] for i in (2, 3, 4, 5, 6)] == [16, 8, 4, 2, 1]
    assert isinstance(detector.backbone, FPN)
    kinds = [type(layer) for layer in detector.backbone.bottom_up.fourfold]
    assert kinds == [nn.ConvTranspose2d, nn.GroupNorm, nn.GELU, nn.ConvTranspose2d]
    for deconv in (*detector.backbone.bottom_up.fourfold[::3], detector.backbone.bottom_up.twofold):
        assert (deconv.kernel_size, deconv.stride) == ((2, 2), (2, 2))


def test_heads_and_pyramid_have_batch_norm_where_the_paper_has(encoder_of):
    recipe = dataclasses.replace(TINY, box_convs=4, mask_convs=4)
    detector = build(encoder_of(spec=EIGHT), recipe)
    names = [name for name, m in detector.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert sorted(names) == sorted(
        [f"backbone.fpn_{kind}{i}.norm" for kind in ("lateral", "output") for i in (1, 2, 3, 4)]
        + [f"roi_heads.box_head.conv{i}.norm.0" for i in (1, 2, 3, 4)]
        + [f"roi_heads.mask_head.mask_fcn{i}.norm.0" for i in (1, 2, 3, 4)]
    )
    assert len(detector.proposal_generator.rpn_head.conv) == 2
    assert [m.out_features for m in detector.roi_heads.box_head.fcs] == [16]


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_heads_without_any_object_pass_and_keep_their_statistics(encoder_of, kind):
    detector = build(encoder_of(spec=EIGHT)).train()
    if kind is nn.SyncBatchNorm:
        nn.SyncBatchNorm.convert_sync_batchnorm(detector)  # as on several GPUs
    head = detector.roi_heads.mask_head
    norm = head.mask_fcn1.norm[0]
    assert type(norm) is kind
    nn.init.ones_(norm.running_mean)
    out = head.layers(torch.zeros(0, 16, 14, 14))
    assert out.shape == (0, 8, 28, 28)
    out.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in norm.parameters())
    assert torch.equal(norm.running_mean, torch.ones(16))


class Precise(nn.BatchNorm2d):
    """Takes fp32 alone, as torch's SyncBatchNorm does on a rank without rows."""

    def forward(self, rows):
        assert rows.dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        return super().forward(rows)


def test_a_heads_norm_runs_in_fp32_whatever_the_precision():
    norm, rows = HeadNorm(4), torch.randn(3, 4, 5, 5).bfloat16()
    norm[0] = Precise(4)
    with torch.autocast("cpu", torch.bfloat16):
        out = norm(rows)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, nn.BatchNorm2d(4)(rows.float()).bfloat16())


@pytest.mark.parametrize("world", [1, 2])
def test_norms_and_positions_are_not_decayed_whatever_the_ranks(encoder_of, world):
    detector = build(encoder_of(spec=EIGHT))
    synced(detector, Ranks(0, world, torch.device("cpu")))
    groups = parameter_groups(detector, TINY, depth=8)
    table = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    found = {name: table[id(p)] for name, p in detector.named_parameters()}
    assert len(found) == len(table)
    spared = {name for name, (_, decay) in found.items() if decay == 0}
    norms = [m for m in detector.modules() if "Norm" in type(m).__name__]
    owned = {id(p) for norm in norms for p in norm.parameters()}
    assert spared == {
        name
        for name, p in detector.named_parameters()
        if id(p) in owned or name.endswith("pos_embed")
    }
    assert {rate for rate, _ in found.values()} == {TINY.lr}  # no layer decay


def test_the_schedule_is_fvcores_warm_cosine():
    recipe = CocoMaskRcnnFpn()
    assert recipe.warmup_iterations == 460  # a quarter of 1843.75
    steps = recipe.iterations
    theirs = WarmupParamScheduler(
        CosineParamScheduler(1.0, 0.0), warmup_factor=0.001, warmup_length=460 / steps
    )
    for step in (0, 1, 230, 459, 460, 461, 5000, 92187, 184374):
        assert recipe.lr_factor(step) == pytest.approx(theirs(step / steps), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("arch", "origin", "expected"),
    [
        ("vit_base_patch16", "mae", (8e-5, 0.1, 0.1, 184375)),
        ("vit_large_patch16", "mae", (8e-5, 0.1, 0.3, 184375)),
        ("vit_huge_patch14", "mae", (8e-5, 0.1, 0.3, 184375)),
        ("vit_base_patch16", "supervised", (8e-5, 0.1, 0.1, 184375)),
        ("vit_base_patch16", "moco_v3", (1.6e-4, 0.1, 0.1, 184375)),
        ("vit_large_patch16", "random_init", (1.6e-4, 0.2, 0.3, 737500)),
    ],
)
def test_published_values_are_those_of_li_et_al(arch, origin, expected):
    one = CocoMaskRcnnFpn.published(arch, origin)
    assert (one.lr, one.weight_decay, one.drop_path, one.iterations) == expected
    assert (one.layer_decay, one.batch_size, one.window_size) == (1.0, 64, 14)
    assert (one.image_size, one.scale_min, one.scale_max) == (1024, 0.1, 2.0)
    assert "vit_huge_patch14" not in CocoMaskRcnnFpn.published_archs


def test_a_run_stopped_and_resumed_ends_with_the_same_numbers(tmp_path, write, roots, monkeypatch):
    def context(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return Context(tmp_path / name, 1, roots["coco"], write())

    whole = detect(TINY, context("whole"), model_config)
    run_step, count = PartsTrainer.run_step, iter(range(100))

    def stop_at_one(self):
        if next(count) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        run_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(PartsTrainer, "run_step", stop_at_one)
        with pytest.raises(SystemExit):
            detect(TINY, context("cut"), model_config)
    assert detect(TINY, context("cut"), model_config) == whole
    facts = json.loads((tmp_path / "cut" / "facts.json").read_text())
    assert facts["arrived"]["tensors"] == len(read_encoder(write()).state) - 3
    finals = [
        torch.load(max((tmp_path / name / "checkpoints").glob("*.pt")), weights_only=True)
        for name in ("whole", "cut")
    ]
    for name, tensor in finals[0]["module"].items():
        assert torch.equal(tensor, finals[1]["module"][name]), name
    trained = finals[0]["module"][
        "backbone.bottom_up.net.blocks.0.attn.relative_position_bias_table"
    ]
    assert (trained != 0).any()
    assert all(tensor.isfinite().all() for tensor in finals[0]["module"].values())


@pytest.mark.parametrize(("side", "nearest"), [(72, "64 or 80"), (33, "32 or 48")])
def test_a_side_whose_maps_would_not_fit_each_other_is_refused(encoder_of, side, nearest):
    with pytest.raises(ValueError, match=rf"a multiple of 16 pixels .*got {side}; use {nearest}$"):
        build(encoder_of(spec=EIGHT), dataclasses.replace(TINY, image_size=side))


def test_trying_what_fits_asks_no_other_rank(encoder_of):
    """One whose memory was too small would never answer."""
    detector = synced(build(encoder_of(spec=EIGHT)), Ranks(0, 2, torch.device("cpu"))).train()
    modes = []
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    attempt(detector, TINY, 1, ALONE)
    assert len(modes) >= 8
    assert not any(modes)
    assert all(module.training for module in detector.modules())
