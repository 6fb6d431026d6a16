import dataclasses

import pytest
import torch
import transformers
from foreign_case import (
    GIVEN,
    HEADS,
    SIDE,
    WIDTH,
    detectron2_vit,
    mmseg_backbone,
    randomise,
    saved,
    timm_beit,
    timm_vit,
)
from safetensors.torch import load_file

from mae_bench.kit.encoder import Encoder
from mae_bench.kit.foreign.export import export_encoder
from mae_bench.kit.foreign.importing import import_encoder
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer

SPEC = EncoderSpec(
    arch="vit_32x2_patch8", image_size=SIDE, patch_size=8, width=WIDTH, depth=2, heads=HEADS
)


def encoder_of(**changes) -> Encoder:
    torch.manual_seed(0)
    spec = dataclasses.replace(SPEC, **changes)
    model = randomise(VisionTransformer(spec))
    return Encoder(spec, model.state_dict(), "0" * 64)


def features(encoder, images):
    model = VisionTransformer(encoder.spec).eval()
    model.load_state_dict(encoder.state)
    with torch.no_grad():
        return model(images)


IMAGES = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
PLAIN = {}
REGISTERS = {"num_registers": 3, "layer_scale": True}
BEIT = {"relative_positions": True, "absolute_positions": False, "layer_scale": True}
BEIT |= {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
DETECTRON2 = {"class_token": False, "final_norm": False, "pool": "avg"}
NO_CLS = {"class_token": False, "pool": "avg"}
ROUND_TRIPS = [
    ("timm", "m.safetensors", PLAIN),
    ("timm", "m.pth", REGISTERS),
    ("timm", "m.pth", {"qkv_bias": False}),
    ("timm", "m.pth", NO_CLS),
    ("timm", "m.pth", BEIT),
    ("mae", "m.pth", PLAIN),
    ("hf", "folder", PLAIN),
    ("hf", "folder", {"norm_eps": 1e-12, "qkv_bias": False, "mean": (0.1, 0.2, 0.3)}),
    ("hf", "folder", {"layer_scale": True}),
    ("hf", "folder", REGISTERS),
    ("detectron2", "m.pth", DETECTRON2),
    ("detectron2", "m.pth", PLAIN),
    ("mmseg", "m.pth", PLAIN),
    ("mmseg", "m.pth", {"final_norm": False}),
    ("mmseg", "m.pth", {"layer_scale": True}),
    ("mmseg", "m.pth", {"relative_positions": True, "layer_scale": True}),
]


@pytest.mark.parametrize(("name", "file", "changes"), ROUND_TRIPS)
def test_an_exported_encoder_comes_back_bit_for_bit(tmp_path, name, file, changes):
    encoder = encoder_of(**changes)
    if changes is BEIT:
        for i in range(2):
            encoder.state[f"blocks.{i}.attn.qkv.bias"][WIDTH : 2 * WIDTH] = 0.0
    out = tmp_path / "new" / file
    export_encoder(encoder, name, out)
    again = import_encoder(out / "model.safetensors" if name == "hf" else out, GIVEN).encoder
    assert again.state.keys() == encoder.state.keys()
    assert all(torch.equal(tensor, again.state[n]) for n, tensor in encoder.state.items())
    assert dataclasses.replace(again.spec, origin="mae") == encoder.spec
    assert [entry.name for entry in out.parent.iterdir()] == [file]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        (PLAIN, {}),
        (REGISTERS, {"reg_tokens": 3, "init_values": 1.0}),
        ({"qkv_bias": False}, {"qkv_bias": False}),
        (NO_CLS, {"class_token": False, "global_pool": ""}),
        ({"final_norm": False}, {"final_norm": False}),
    ],
)
def test_timm_loads_it_strictly(tmp_path, changes, settings):
    encoder = encoder_of(**changes)
    export_encoder(encoder, "timm", tmp_path / "m.safetensors")
    model = timm_vit(**settings)
    model.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    torch.testing.assert_close(
        model.forward_features(IMAGES), features(encoder, IMAGES), atol=1e-5, rtol=1e-5
    )


def test_timms_models_with_registers_alone_load_it_where_the_cls_token_has_no_position(tmp_path):
    encoder = encoder_of(**REGISTERS)
    encoder.state["pos_embed"][:, 0] = 0.0  # as timm's own DINOv2 has it
    notes = export_encoder(encoder, "timm", tmp_path / "m.safetensors")
    assert "no_embed_class=True" in notes[0]
    model = timm_vit(reg_tokens=3, init_values=1.0, no_embed_class=True)
    model.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    torch.testing.assert_close(
        model.forward_features(IMAGES), features(encoder, IMAGES), atol=1e-5, rtol=1e-5
    )
    again = import_encoder(tmp_path / "m.safetensors", GIVEN).encoder
    assert all(torch.equal(tensor, again.state[n]) for n, tensor in encoder.state.items())


def test_timms_beit_loads_it_strictly(tmp_path):
    path = saved(tmp_path / "b.pth", timm_beit(global_pool="token").state_dict()).path
    encoder = import_encoder(path).encoder
    export_encoder(encoder, "timm", tmp_path / "m.pth")
    model = timm_beit(global_pool="token")
    model.load_state_dict(torch.load(tmp_path / "m.pth"), strict=True)
    torch.testing.assert_close(
        model.forward_features(IMAGES), features(encoder, IMAGES), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "kind", "settings"),
    [
        ({"norm_eps": 1e-12}, "ViTModel", {"add_pooling_layer": False}),
        ({"qkv_bias": False}, "ViTModel", {"add_pooling_layer": False}),
        ({"layer_scale": True}, "Dinov2Model", {}),
        (REGISTERS, "Dinov2WithRegistersModel", {}),
    ],
)
def test_transformers_loads_it_strictly(tmp_path, changes, kind, settings):
    encoder = encoder_of(**changes)
    notes = export_encoder(encoder, "hf", tmp_path / "folder")
    assert kind in notes[0]
    model, report = getattr(transformers, kind).from_pretrained(
        tmp_path / "folder", output_loading_info=True, **settings
    )
    assert not any(report.values()), report
    theirs = model.eval()(IMAGES).last_hidden_state
    torch.testing.assert_close(theirs, features(encoder, IMAGES), atol=1e-5, rtol=1e-5)
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "folder")) is type(model)
    processor = transformers.ViTImageProcessor.from_pretrained(tmp_path / "folder")
    assert processor.image_mean == pytest.approx(encoder.spec.mean)


def test_detectron2_loads_it_strictly(tmp_path):
    encoder = encoder_of(**DETECTRON2)
    export_encoder(encoder, "detectron2", tmp_path / "m.pth")
    state = torch.load(tmp_path / "m.pth")["model"]
    model = detectron2_vit(use_rel_pos=False, pretrain_use_cls_token=False)
    inner = {name.removeprefix("backbone.net."): tensor for name, tensor in state.items()}
    model.load_state_dict(inner, strict=True)
    theirs = model(IMAGES)["last_feat"].flatten(2).transpose(1, 2)
    torch.testing.assert_close(theirs, features(encoder, IMAGES), atol=1e-5, rtol=1e-5)


def test_detectron2_leaves_out_the_cls_token_and_the_final_norm_alone(tmp_path):
    encoder = encoder_of(**PLAIN)
    notes = export_encoder(encoder, "detectron2", tmp_path / "m.pth")
    assert any("no cls token and no final norm" in note for note in notes)
    state = torch.load(tmp_path / "m.pth")["model"]
    model = detectron2_vit(use_rel_pos=False, pretrain_use_cls_token=True)
    inner = {name.removeprefix("backbone.net."): tensor for name, tensor in state.items()}
    missing, unexpected = model.load_state_dict(inner, strict=False)
    assert (missing, sorted(unexpected)) == ([], ["cls_token", "norm.bias", "norm.weight"])


@pytest.mark.parametrize(
    "changes",
    [PLAIN, {"final_norm": False}, {"relative_positions": True, "layer_scale": True}],
)
def test_mmsegmentation_loads_it_strictly(tmp_path, changes):
    encoder = encoder_of(**changes)
    export_encoder(encoder, "mmseg", tmp_path / "m.pth")
    state = torch.load(tmp_path / "m.pth")["state_dict"]
    model = mmseg_backbone("MAE", final_norm=encoder.spec.final_norm)
    inner = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    model.load_state_dict(inner, strict=True)
    theirs = model(IMAGES)[-1].flatten(2).transpose(1, 2)
    torch.testing.assert_close(theirs, features(encoder, IMAGES)[:, 1:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("mae", {"num_registers": 2}, "MAE's code has no place for .* num_registers 2"),
        ("mae", {"layer_scale": True}, "layer_scale True, only False"),
        ("mae", {"norm_eps": 1e-12}, "norm_eps 1e-12, only 1e-06"),
        ("mae", {"qkv_bias": False}, "qkv_bias False, only True"),
        ("mae", {"class_token": False}, "class_token False, only True"),
        ("timm", {"norm_eps": 1e-12}, "timm has no place for .* norm_eps 1e-12"),
        ("timm", BEIT, "timm's Beit has no place for the key bias of block 0"),
        ("timm", BEIT | {"final_norm": False}, "timm's Beit .* final_norm False"),
        ("hf", BEIT, "transformers has no place for .* relative_positions True"),
        ("hf", {"num_registers": 2}, "DINOv2 with registers has no place for .* layer_scale False"),
        ("hf", {"final_norm": False}, "final_norm False, only True"),
        ("detectron2", {"layer_scale": True}, "detectron2's ViT has no place for .* layer_scale"),
        ("detectron2", BEIT, "detectron2's ViT has no place for"),
        ("mmseg", {"num_registers": 1}, "mmsegmentation's MAE backbone .* num_registers 1"),
        ("mmseg", NO_CLS, "class_token False, only True"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, name, changes, said):
    out = tmp_path / ("folder" if name == "hf" else "m.pth")
    with pytest.raises(ValueError, match=said):
        export_encoder(encoder_of(**changes), name, out)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_suffix_and_a_file_that_exists_are_refused(tmp_path):
    encoder = encoder_of()
    with pytest.raises(ValueError, match=r"suffix for format mae must be \.pth"):
        export_encoder(encoder, "mae", tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="suffix for format hf must be none: a folder is written"):
        export_encoder(encoder, "hf", tmp_path / "m.safetensors")
    (tmp_path / "m.pth").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"m\.pth exists; remove it, or give another path"):
        export_encoder(encoder, "mae", tmp_path / "m.pth")
    assert (tmp_path / "m.pth").read_bytes() == b"mine"


def test_a_beit_of_a_library_survives_all_the_way(tmp_path):
    model = timm_beit(global_pool="token")
    path = saved(tmp_path / "b.pth", model.state_dict()).path
    encoder = import_encoder(path).encoder
    export_encoder(encoder, "timm", tmp_path / "m.pth")
    again = torch.load(tmp_path / "m.pth")
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())
