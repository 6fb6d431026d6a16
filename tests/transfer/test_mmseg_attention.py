import copy
import dataclasses

import pytest
import torch
from torch import nn

from mae_bench.kit.encoder import read_encoder, write_encoder
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer, init_weights
from transfer.ade20k_upernet import Ade20kUperNet
from transfer.mmseg_adapter.model import build_segmenter, fitted, model_config
from transfer.mmseg_adapter.toolbox import import_mmseg

RECIPE = dataclasses.replace(Ade20kUperNet.demo(), head_width=8, auxiliary_width=8)
BEIT = EncoderSpec(
    arch="beit",
    image_size=64,
    patch_size=8,
    width=32,
    depth=4,
    heads=4,
    absolute_positions=False,
    relative_positions=True,
    layer_scale=True,
)


def backbone_of(encoder, recipe=RECIPE):
    plain = fitted(encoder, recipe)
    segmenter = build_segmenter(model_config(recipe, plain, 12), plain)
    return segmenter.eval().backbone


def stock(encoder):
    """Return mmsegmentation's own backbone with random relative positions."""
    import_mmseg()
    from mmseg.registry import MODELS

    torch.manual_seed(1)
    backbone = MODELS.build(model_config(RECIPE, fitted(encoder, RECIPE), 12)["backbone"])
    backbone.init_weights()
    for layer in backbone.layers:
        nn.init.normal_(layer.attn.relative_position_bias_table)
    return backbone


def taps_and_gradients(backbone, images):
    """Return the taps and every gradient of a loss over all of them."""
    backbone.zero_grad()
    taps = backbone(images)
    sum((tap.square() * tap.detach().cos()).sum() for tap in taps).backward()
    return taps, {name: parameter.grad.clone() for name, parameter in backbone.named_parameters()}


@pytest.mark.parametrize("way", ["fused", "recomputed"])
def test_fused_and_recomputed_blocks_are_mmsegmentations_in_value_and_gradient(encoder_of, way):
    from transfer.mmseg_adapter.attention import fuse

    plain = stock(encoder_of()).double()
    ours = copy.deepcopy(plain)
    fuse(ours)
    for layer in ours.layers:
        layer.recompute = way == "recomputed"
    assert plain.state_dict().keys() == ours.state_dict().keys()
    images = torch.randn(2, 3, 64, 64).double()
    expected, found = (taps_and_gradients(one, images) for one in (plain, ours))
    for one, other in zip(expected[0], found[0], strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
    for name, gradient in expected[1].items():
        torch.testing.assert_close(gradient, found[1][name], atol=1e-9, rtol=1e-9)


def test_fused_attention_is_mmsegmentations_in_single_precision(encoder_of):
    from transfer.mmseg_adapter.attention import fuse

    plain = stock(encoder_of())
    ours = copy.deepcopy(plain)
    fuse(ours)
    images = torch.randn(2, 3, 64, 64)
    attention = [one.layers[0].attn for one in (plain, ours)]
    tokens = torch.randn(2, 65, 32)
    torch.testing.assert_close(attention[0](tokens), attention[1](tokens), atol=1e-5, rtol=1e-5)
    for one, other in zip(plain(images), ours(images), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_recomputing_keeps_less_for_the_gradient(encoder_of):
    kept = {}
    for recompute in (False, True):
        backbone = backbone_of(encoder_of())
        for layer in backbone.layers:
            layer.recompute = recompute
        saved = []
        pack = torch.autograd.graph.saved_tensors_hooks(
            lambda t, saved=saved: saved.append(t.numel()) or t, lambda t: t
        )
        with pack:
            backbone(torch.randn(1, 3, 64, 64))
        kept[recompute] = sum(saved)
    assert kept[True] < kept[False] / 4


def beit(tmp_path):
    """Return a BEiT-like encoder whose relative positions matter."""
    torch.manual_seed(0)
    model = VisionTransformer(BEIT)
    init_weights(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "table" in name or "gamma" in name:
                nn.init.normal_(parameter)
    write_encoder(tmp_path / "beit.safetensors", BEIT, model.state_dict())
    return read_encoder(tmp_path / "beit.safetensors"), model.eval()


def test_relative_positions_of_an_encoder_keep_their_meaning(tmp_path):
    encoder, ours = beit(tmp_path)
    images = torch.randn(2, 3, 64, 64)
    taps = backbone_of(encoder)(images)
    tokens = ours.embed(images)
    for block, tap in zip(ours.blocks, taps, strict=True):
        tokens = block(tokens)
        torch.testing.assert_close(
            tap.flatten(2).transpose(1, 2), tokens[:, 1:], atol=1e-4, rtol=1e-4
        )
    told = fitted(encoder, RECIPE).history
    assert "absent position embedding set to zeros" in told
    shuffled = {
        name: tensor.flip(0) if "table" in name else tensor
        for name, tensor in encoder.state.items()
    }
    other = backbone_of(dataclasses.replace(encoder, state=shuffled))(images)
    assert (other[-1] - taps[-1]).abs().max() > 1e-2


def test_relative_positions_are_resized_to_the_crop(tmp_path):
    encoder, _ = beit(tmp_path)
    smaller = dataclasses.replace(RECIPE, crop_size=32, stride=16)
    backbone = backbone_of(encoder, smaller)
    assert backbone.layers[0].attn.relative_position_bias_table.shape == (7 * 7 + 3, 4)
    assert backbone(torch.randn(1, 3, 32, 32))[-1].isfinite().all()


def test_registers_are_refused(encoder_of):
    spec = dataclasses.replace(
        BEIT, absolute_positions=True, relative_positions=False, num_registers=4, layer_scale=False
    )
    with pytest.raises(ValueError, match="no place for the encoder's 4 registers"):
        fitted(encoder_of(0, spec), RECIPE)
