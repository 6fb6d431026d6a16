import dataclasses

import pytest
import torch
from timm.layers import resize_rel_pos_bias_table
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer as TimmViT

from mae_bench.kit.encoder import Encoder, encoder_shapes
from mae_bench.kit.fit import at_image_size, for_toolbox
from mae_bench.kit.pos_embed import resize_pos_embed
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer

PLAIN = EncoderSpec(arch="tiny", image_size=32, patch_size=8, width=32, depth=3, heads=2)


def random_encoder(**changes):
    """Return an encoder of that spec with no parameter at 0 or 1."""
    torch.manual_seed(0)
    spec = dataclasses.replace(PLAIN, **changes)
    state = {name: torch.randn(shape) * 0.2 for name, shape in encoder_shapes(spec).items()}
    return Encoder(spec, state, sha256="")


def vit(encoder):
    model = VisionTransformer(encoder.spec).eval()
    model.load_state_dict(encoder.state, strict=True)
    return model


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"layer_scale": True}, {"init_values": 1.0}),
        ({"qkv_bias": False}, {"qkv_bias": False}),
        ({"norm_eps": 1e-3}, {}),
        ({"class_token": False}, {"class_token": False, "global_pool": "avg", "fc_norm": False}),
    ],
)
def test_each_variation_equals_timms(changes, options):
    encoder = random_encoder(**changes)
    theirs = TimmViT(32, 8, embed_dim=32, depth=3, num_heads=2, num_classes=0, **options).eval()
    theirs.load_state_dict(encoder.state, strict=True)
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = encoder.spec.norm_eps
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        vit(encoder)(images), theirs.forward_features(images), atol=1e-5, rtol=1e-5
    )


def test_registers_equal_timms():
    encoder = random_encoder(num_registers=3)
    theirs = TimmViT(32, 8, embed_dim=32, depth=3, num_heads=2, num_classes=0, reg_tokens=3).eval()
    state = dict(encoder.state)
    places = state["pos_embed"]
    state["pos_embed"] = torch.cat([places[:, :1], torch.zeros(1, 3, 32), places[:, 1:]], dim=1)
    theirs.load_state_dict(state, strict=True)
    for module in theirs.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        vit(encoder)(images), theirs.forward_features(images), atol=1e-5, rtol=1e-5
    )


def beit(encoder):
    """Return timm's BEiT with the encoder's weights."""
    spec = encoder.spec
    model = Beit(
        spec.image_size,
        spec.patch_size,
        embed_dim=spec.width,
        depth=spec.depth,
        num_heads=spec.heads,
        num_classes=0,
        init_values=1.0,
        use_rel_pos_bias=True,
        use_abs_pos_emb=False,
        global_pool="token",
    ).eval()
    state = {}
    for name, tensor in encoder.state.items():
        if name.endswith("qkv.bias"):
            q, _, v = tensor.chunk(3)
            part = name.removesuffix("qkv.bias")
            state |= {f"{part}q_bias": q, f"{part}v_bias": v}
        else:
            state[name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")] = tensor
    model.load_state_dict(state, strict=True)
    return model


def beit_encoder():
    encoder = random_encoder(absolute_positions=False, relative_positions=True, layer_scale=True)
    for name, tensor in encoder.state.items():
        if name.endswith("qkv.bias"):
            tensor[32:64] = 0.0  # keys have no bias in BEiT
    return encoder


def test_relative_positions_equal_timms_beit():
    encoder = beit_encoder()
    images = torch.randn(2, 3, 32, 32)
    ours, theirs = vit(encoder)(images), beit(encoder).forward_features(images)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_positions_follow_the_image_size_and_the_cls_row_stays():
    encoder = random_encoder()
    resized = at_image_size(encoder, 48)
    expected = resize_pos_embed(encoder.state["pos_embed"], (6, 6))
    assert torch.equal(resized.state["pos_embed"], expected)
    assert torch.equal(expected[:, 0], encoder.state["pos_embed"][:, 0])
    assert resized.history == ("position embedding resized from 4x4 to 6x6 patches",)
    assert vit(resized)(torch.randn(1, 3, 48, 48)).shape == (1, 37, 32)
    assert at_image_size(encoder, 32).state is encoder.state


def test_relative_tables_follow_the_image_size():
    encoder = beit_encoder()
    name = "blocks.0.attn.relative_position_bias_table"
    resized = at_image_size(encoder, 48)
    assert resized.state[name].shape == (11 * 11 + 3, 2)
    expected = resize_rel_pos_bias_table(encoder.state[name], (6, 6), (124, 2))
    assert torch.equal(resized.state[name], expected)
    assert torch.equal(resized.state[name][-3:], encoder.state[name][-3:])
    vit(resized)(torch.randn(1, 3, 48, 48))


def test_folding_layer_scale_and_adding_a_zero_bias_change_no_feature():
    encoder = random_encoder(layer_scale=True, qkv_bias=False)
    plain = for_toolbox(encoder, "a toolbox")
    assert (plain.spec.layer_scale, plain.spec.qkv_bias) == (False, True)
    assert not any("gamma" in name for name in plain.state)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(vit(plain)(images), vit(encoder)(images), atol=1e-5, rtol=1e-5)
    assert plain.history[0] == "LayerScale folded into attn.proj and mlp.fc2"


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (random_encoder(num_registers=4), "no place for the encoder's 4 registers"),
        (beit_encoder(), "no place for the encoder's relative positions"),
    ],
)
def test_what_a_toolbox_cannot_hold_is_refused(encoder, words):
    with pytest.raises(ValueError, match=words):
        for_toolbox(encoder, "detectron2's ViT")


def test_a_grid_that_is_not_square_is_resized_as_one():
    rows = torch.arange(6.0).view(1, 6, 1).expand(1, 6, 4)
    pos_embed = torch.cat([torch.full((1, 1, 4), 9.0), rows], dim=1)
    resized = resize_pos_embed(pos_embed, (3, 2), source=(2, 3))
    assert resized.shape == (1, 7, 4)
    assert (resized[:, 0] == 9).all()
    image = rows.reshape(1, 2, 3, 4).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(image, size=(3, 2), mode="bicubic")
    torch.testing.assert_close(resized[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, 6, 4))
    with pytest.raises(ValueError, match="expected 5x5 plus 1 rows, got 7"):
        resize_pos_embed(pos_embed, (3, 2), source=(5, 5))


def test_patch_14_becomes_16_on_the_same_grid_and_is_said():
    encoder = random_encoder(image_size=56, patch_size=14)
    dense = for_toolbox(encoder, "a toolbox")
    assert (dense.spec.patch_size, dense.spec.image_size, dense.spec.grid) == (16, 64, 4)
    kernel = encoder.state["patch_embed.proj.weight"]
    expected = torch.nn.functional.interpolate(kernel, size=(16, 16), mode="bicubic")
    torch.testing.assert_close(dense.state["patch_embed.proj.weight"], expected)
    assert dense.history == ("patch kernel resized from 14 to 16 pixels",)
    assert vit(dense)(torch.randn(1, 3, 64, 64)).shape == (1, 17, 32)


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"class_token": False, "num_registers": 4}, 4),
        ({"pool": "avg", "num_registers": 2}, 3),
    ],
)
def test_the_mean_of_the_patches_leaves_cls_and_registers_out(changes, first):
    model = VisionTransformer(dataclasses.replace(PLAIN, **changes))
    tokens = torch.randn(2, first + 16, 32)
    assert torch.equal(model.pooled(tokens), tokens[:, first:].mean(dim=1))
