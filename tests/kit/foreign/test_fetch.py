import pytest
import timm
import torch

from mae_bench.kit.encoder import read_encoder
from mae_bench.kit.foreign.fetch import fetch
from mae_bench.kit.vit import VisionTransformer

SMALL = {"img_size": 32, "embed_dim": 64, "depth": 2, "num_heads": 4}


@pytest.fixture
def offline(monkeypatch):
    """Let timm make its models small and without weights of the network; return those made."""
    made, create = [], timm.create_model

    def without_weights(name, pretrained, num_classes):
        assert pretrained
        model = create(name, pretrained=False, num_classes=num_classes, **SMALL)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        made.append(model.eval())
        return model

    monkeypatch.setattr(timm, "create_model", without_weights)
    return made


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_224.augreg_in21k", "vit_medium_patch16_reg4_gap_256.sbb_in1k"],
)
def test_a_model_of_timm_comes_with_its_heads_and_pixels(tmp_path, offline, name):
    words = fetch(f"timm:{name}", tmp_path / "e.safetensors")
    assert "100 %" in words
    encoder = read_encoder(tmp_path / "e.safetensors")
    assert encoder.spec.heads == 4
    assert encoder.spec.mean == tuple(offline[0].pretrained_cfg["mean"])
    ours = VisionTransformer(encoder.spec).eval()
    ours.load_state_dict(encoder.state)
    image = torch.randn(1, 3, 32, 32)
    theirs = offline[0].forward_features(image)
    torch.testing.assert_close(ours(image), theirs, atol=1e-4, rtol=1e-4)


def test_a_model_that_computes_something_else_is_refused(tmp_path, offline):
    with pytest.raises(ValueError, match="computes something else than a plain ViT"):
        fetch("timm:vit_base_patch16_rpn_224.sw_in1k", tmp_path / "e.safetensors")
    assert not list(tmp_path.iterdir())
