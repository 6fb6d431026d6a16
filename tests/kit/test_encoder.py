import dataclasses

import numpy as np
import pytest
import torch

from mae_bench.kit.encoder import (
    Encoder,
    encoder_shapes,
    load_exactly,
    read_encoder,
    write_encoder,
)
from mae_bench.kit.spec import EncoderSpec
from mae_bench.kit.vit import VisionTransformer

SPEC = EncoderSpec(arch="vit_smoke_patch8", image_size=32, patch_size=8, width=32, depth=4, heads=2)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VisionTransformer(SPEC)


@pytest.fixture
def file(tmp_path, model):
    path = tmp_path / "encoder.safetensors"
    write_encoder(path, SPEC, model.state_dict())
    return path


def test_the_vit_has_exactly_the_canonical_tensors(model):
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    assert shapes == encoder_shapes(SPEC)


def test_an_encoder_comes_back_bit_for_bit(file, model):
    encoder = read_encoder(file)
    assert encoder.spec == SPEC
    assert all(torch.equal(t, encoder.state[n]) for n, t in model.state_dict().items())
    assert len(encoder.sha256) == 64


def test_features_equal_timms_vit_with_the_same_weights(model):
    from timm.models.vision_transformer import VisionTransformer as TimmViT

    timm_model = TimmViT(32, 8, embed_dim=32, depth=4, num_heads=2, num_classes=0).eval()
    for module in timm_model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    timm_model.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(
        model.eval()(images), timm_model.forward_features(images), atol=1e-5, rtol=1e-5
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nothing\.safetensors: no such encoder file"):
        read_encoder(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize("size", [0, 7, 100, 5000])
def test_a_truncated_file_is_named_and_refused(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"encoder\.safetensors is not a whole safetensors file"):
        read_encoder(file)


def test_a_file_that_is_no_encoder_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(
        ValueError, match=r"x\.safetensors is no plain ViT: expected a patch embedding"
    ):
        read_encoder(path)


def test_tensors_of_another_shape_are_listed(tmp_path, model):
    wrong = dataclasses.replace(SPEC, image_size=64)
    with pytest.raises(ValueError, match=r"pos_embed is \[1, 17, 32\], expected \[1, 65, 32\]"):
        write_encoder(tmp_path / "e.safetensors", wrong, model.state_dict())
    assert not (tmp_path / "e.safetensors").exists()


def test_a_checkpoint_of_the_reference_code_is_converted(tmp_path, golden_file):
    golden = np.load(golden_file("mae_forward.npz"))
    state = {k[6:]: torch.tensor(golden[k]) for k in golden.files if k.startswith("state/")}
    path = tmp_path / "mae.pth"
    torch.save({"model": state, "epoch": 3}, path)
    with pytest.raises(ValueError, match=r"has width 32, and its tensors do not tell .* heads"):
        read_encoder(path)
    full = {n: t for n, t in state.items() if not n.startswith("blocks")}
    encoder_four = {
        f"blocks.{i}.{n[9:]}": t
        for i in range(4)
        for n, t in state.items()
        if n.startswith("blocks.0")
    }
    torch.save({"model": full | encoder_four}, path)
    encoder = read_encoder(path)
    assert isinstance(encoder, Encoder)
    assert (encoder.spec.arch, encoder.spec.origin) == ("vit_smoke_patch8", "mae")
    assert torch.equal(encoder.state["blocks.3.norm1.weight"], state["blocks.0.norm1.weight"])
    assert "mask_token" not in encoder.state


class Payload:
    """Unpickles by running a shell command."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.mark}",)


def test_a_pickle_with_a_payload_is_refused_and_does_not_run(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"model": Payload(tmp_path / "ran")}, path)
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read as plain weights"):
        read_encoder(path)
    assert not (tmp_path / "ran").exists()


def test_load_exactly_names_what_is_missing_and_what_is_left_over(model):
    state = dict(model.state_dict())
    state["extra.weight"] = state.pop("norm.weight")
    with pytest.raises(ValueError, match=r"missing norm\.weight; unexpected extra\.weight"):
        load_exactly(VisionTransformer(SPEC), state)


def test_load_exactly_accepts_only_what_was_declared_new_or_dropped(model):
    state = dict(model.state_dict())
    state["extra.weight"] = state.pop("norm.weight")
    other = VisionTransformer(SPEC)
    load_exactly(other, state, new=("norm.weight",), dropped=("extra.",))
    assert torch.equal(other.cls_token, model.cls_token)
    assert torch.equal(other.blocks[3].mlp.fc2.weight, model.blocks[3].mlp.fc2.weight)


def test_load_exactly_refuses_another_shape(model):
    state = dict(model.state_dict()) | {"cls_token": torch.zeros(1, 1, 16)}
    with pytest.raises(ValueError, match=r"cls_token is \[1, 1, 16\], the model has \[1, 1, 32\]"):
        load_exactly(VisionTransformer(SPEC), state)
