import dataclasses

import pytest
import torch

from mae_bench.kit.fit import for_toolbox
from mae_bench.kit.patch_kernel import dense_patch_size, resize_patch_kernel
from mae_bench.kit.vit import VisionTransformer
from transfer.coco_vitdet import CocoVitDet
from transfer.detectron2_adapter.config import eval_mapper
from transfer.detectron2_adapter.data import read_split
from transfer.detectron2_adapter.model import (
    build_detector,
    parameter_groups,
    window_blocks,
)
from transfer.detectron2_adapter.vitdet import model_config

TINY = dataclasses.replace(
    CocoVitDet.demo(),
    image_size=64,
    iterations=4,
    milestones=(3,),
    warmup_iterations=1,
    batch_size=2,
    pyramid_width=16,
    box_width=16,
    rpn_proposals=20,
    detections_per_image=5,
)


def build(encoder, recipe=TINY):
    fitting = for_toolbox(encoder, "detectron2")
    return build_detector(model_config(recipe, fitting, 8), fitting)


def test_every_encoder_tensor_arrives_in_the_detector(encoder_of):
    encoder = encoder_of()
    state = build(encoder).backbone.net.state_dict()
    for name, tensor in encoder.state.items():
        if not name.startswith(("cls_token", "norm.")):
            assert torch.equal(state[name], tensor), name
    assert sum("rel_pos" in name for name in state) == 2 * encoder.spec.depth


def test_a_pyramid_as_wide_as_the_encoder_keeps_its_own_norms(encoder_of, wide_spec):
    encoder = encoder_of(spec=wide_spec)
    detector = build(encoder, dataclasses.replace(TINY, pyramid_width=256))
    norms = {n: t for n, t in detector.backbone.state_dict().items() if ".norm.weight" in n}
    assert norms
    assert all(torch.equal(t, torch.ones_like(t)) for t in norms.values())


def test_a_missing_tensor_is_refused_by_name(without):
    with pytest.raises(ValueError, match=r"missing blocks\.2\.attn\.qkv\.bias"):
        build(without("blocks.2.attn.qkv.bias"))


def test_features_change_with_the_encoder_and_are_those_of_our_vit(encoder_of):
    images = torch.randn(2, 3, 64, 64)
    features = []
    for seed in (0, 1):
        encoder = encoder_of(seed)
        detector = build(encoder).eval()
        found = detector.backbone.net(images)["last_feat"].flatten(2).transpose(1, 2)
        ours = VisionTransformer(encoder.spec).eval()
        ours.load_state_dict(encoder.state)
        tokens = ours.embed(images)[:, 1:]  # ViTDet runs without the cls token
        for block in ours.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(found, tokens, atol=1e-4, rtol=1e-4)
        features.append(found)
    assert (features[0] - features[1]).abs().mean() > 0.1


def test_windows_are_global_at_the_end_of_each_quarter():
    assert window_blocks(12) == [0, 1, 3, 4, 6, 7, 9, 10]
    assert sorted(set(range(24)) - set(window_blocks(24))) == [5, 11, 17, 23]
    assert sorted(set(range(32)) - set(window_blocks(32))) == [7, 15, 23, 31]


def test_parameter_groups_have_layer_decay_and_no_decay_of_positions(encoder_of):
    recipe = dataclasses.replace(TINY, lr=1.0, layer_decay=0.5, weight_decay=0.1)
    detector = build(encoder_of(), recipe)
    groups = parameter_groups(detector, recipe, depth=4)
    table = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    found = {name: table[id(p)] for name, p in detector.named_parameters()}
    net = "backbone.net."
    assert found[net + "pos_embed"] == (pytest.approx(0.5**5), 0.0)
    assert found[net + "patch_embed.proj.weight"] == (pytest.approx(0.5**5), 0.1)
    for i in range(4):
        assert found[f"{net}blocks.{i}.attn.qkv.weight"] == (pytest.approx(0.5 ** (4 - i)), 0.1)
        assert found[f"{net}blocks.{i}.norm1.weight"] == (pytest.approx(0.5 ** (4 - i)), 0.0)
    assert found["roi_heads.box_predictor.cls_score.weight"] == (1.0, 0.1)
    assert len(found) == len(table) == len(list(detector.parameters()))


def test_the_schedule_warms_up_from_a_thousandth_and_falls_twice():
    recipe = CocoVitDet()
    assert recipe.lr_factor(0) == pytest.approx(0.001)
    assert recipe.lr_factor(125) == pytest.approx(0.5005)
    assert [recipe.lr_factor(i) for i in (250, 163888)] == [1.0, 1.0]
    assert recipe.lr_factor(163889) == pytest.approx(0.1)
    assert recipe.lr_factor(177546) == pytest.approx(0.01)


def test_patch_14_becomes_16():
    assert [dense_patch_size(p) for p in (8, 14, 16)] == [8, 16, 16]
    kernel = torch.ones(2, 3, 14, 14)
    torch.testing.assert_close(resize_patch_kernel(kernel, 16), torch.ones(2, 3, 16, 16))
    assert resize_patch_kernel(kernel, 14) is kernel


def test_test_images_are_padded_to_the_square(encoder_of, roots):
    detector = build(encoder_of()).eval()
    split = read_split(roots["coco"], "val")
    mapped = eval_mapper(TINY)(split.records[0])
    mapped["image"] = mapped["image"][:, :40, :52]
    assert detector.preprocess_image([mapped]).tensor.shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("vit_base_patch16", (0.7, 0.1, 184375, (163889, 177546), False)),
        ("vit_large_patch16", (0.8, 0.4, 184375, (163889, 177546), False)),
        ("vit_huge_patch14", (0.9, 0.5, 138281, (122916, 133159), True)),
    ],
)
def test_published_values_are_those_of_vitdet(arch, expected):
    one = CocoVitDet.published(arch, "mae")
    found = (one.layer_decay, one.drop_path, one.iterations, one.milestones, one.decay_all)
    assert found == expected
    assert (one.lr, one.weight_decay, one.batch_size) == (1e-4, 0.1, 64)


@pytest.mark.parametrize(("side", "nearest"), [(100, "96 or 104"), (63, "56 or 64")])
def test_a_side_that_patches_do_not_cover_is_refused(encoder_of, side, nearest):
    """The patch embedding would drop the right and bottom strip without a word."""
    with pytest.raises(ValueError, match=rf"a multiple of 8 pixels .*got {side}; use {nearest}$"):
        build(encoder_of(), dataclasses.replace(TINY, image_size=side))
