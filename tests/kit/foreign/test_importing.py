from pathlib import Path

import pytest
import torch
from foreign_case import GIVEN, HEADS, SIDE, WIDTH, saved, timm_vit, write_config
from foreign_cases import BUILDERS

from mae_bench.kit.encoder import load_exactly, read_encoder
from mae_bench.kit.foreign.formats import FORMATS
from mae_bench.kit.foreign.importing import import_encoder
from mae_bench.kit.foreign.weight_files import read_weights
from mae_bench.kit.vit import VisionTransformer

IMAGENET = (0.485, 0.456, 0.406)
HALF = (0.5, 0.5, 0.5)
EXPECTED = {
    "timm": ("timm", "foreign", 1e-6, IMAGENET, "cls"),
    "timm with a head": ("timm", "foreign", 1e-6, IMAGENET, "cls"),
    "timm without cls token, pooled": ("timm", "foreign", 1e-6, IMAGENET, "avg"),
    "mae with decoder": ("mae", "mae", 1e-6, IMAGENET, "cls"),
    "mae encoder": ("mae", "mae", 1e-6, IMAGENET, "cls"),
    "mae fine-tuned": ("timm", "foreign", 1e-6, IMAGENET, "avg"),
    "moco_v3": ("moco_v3", "moco_v3", 1e-6, IMAGENET, "cls"),
    "dino": ("dino", "dino", 1e-6, IMAGENET, "cls"),
    "dinov2": ("dinov2", "dinov2", 1e-6, IMAGENET, "cls"),
    "dinov2 training": ("dinov2", "dinov2", 1e-6, IMAGENET, "cls"),
    "beit, fine-tuned": ("beit", "foreign", 1e-6, HALF, "avg"),
    "beit, pretrained": ("beit", "beit", 1e-6, HALF, "cls"),
    "torchvision": ("torchvision", "foreign", 1e-6, IMAGENET, "cls"),
    "lightly mae": ("lightly_torchvision", "mae", 1e-6, IMAGENET, "cls"),
    "lightly dino": ("lightly", "foreign", 1e-6, IMAGENET, "cls"),
    "mmseg mae": ("mmseg", "foreign", 1e-6, IMAGENET, "cls"),
    "mmpretrain": ("mmpretrain", "mae", 1e-6, IMAGENET, "cls"),
    "detectron2": ("detectron2", "foreign", 1e-6, IMAGENET, "avg"),
    "hf vit": ("hf_vit", "foreign", 1e-12, IMAGENET, "cls"),
    "hf vit_mae": ("hf_vit_mae", "mae", 1e-12, IMAGENET, "cls"),
    "hf dinov2": ("hf_dinov2", "dinov2", 1e-6, IMAGENET, "cls"),
    "hf dinov2 with registers": ("hf_dinov2", "dinov2", 1e-6, IMAGENET, "cls"),
    "hf beit": ("hf_beit", "foreign", 1e-12, HALF, "avg"),
    "hf beit, pretrained": ("hf_beit", "beit", 1e-12, HALF, "cls"),
}


@pytest.fixture
def images():
    return torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def features(encoder, images):
    model = VisionTransformer(encoder.spec).eval()
    load_exactly(model, encoder.state)
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize("name", BUILDERS)
def test_features_equal_the_librarys_own_and_all_tensors_are_accounted_for(name, tmp_path, images):
    case = BUILDERS[name](tmp_path)
    imported = import_encoder(case.path, case.options)
    ours = features(imported.encoder, images)
    with torch.no_grad():
        theirs = case.features(images)
    ours = ours[:, ours.shape[1] - theirs.shape[1] :]  # dense backbones give the patches alone
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

    arrival = imported.arrival
    assert (arrival.coverage, arrival.unexpected, arrival.missing) == (100.0, (), ())
    targets = [*arrival.matched, *(part.target for part in arrival.converted)]
    assert sorted(targets) == sorted(imported.encoder.state)
    used = {*arrival.matched, *(name for part in arrival.converted for name in part.sources)}
    given = read_weights(case.path).tensors
    kept = given.keys() - {part.name for part in arrival.dropped}
    assert len(used) == len(kept)
    assert all(any(f".{full}".endswith(f".{name}") for name in used) for full in kept)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_tensors_do_not_say_is_taken_from_the_format(name, tmp_path):
    case = BUILDERS[name](tmp_path)
    imported = import_encoder(case.path, case.options)
    spec = imported.encoder.spec
    said = (imported.format, spec.origin, spec.norm_eps, spec.mean, spec.pool)
    assert said == EXPECTED[name]
    assert (spec.heads, spec.image_size, spec.arch) == (HEADS, SIDE, "vit_32x2_patch8")
    assert str(tmp_path) not in " ".join(imported.encoder.history)


def test_any_encoder_file_can_be_read_where_an_encoder_is_named(tmp_path):
    case = BUILDERS["hf vit"](tmp_path)
    assert read_encoder(case.path).spec.width == WIDTH


def test_a_linear_head_is_kept_beside_the_encoder(tmp_path):
    model = timm_vit(num_classes=5, global_pool="avg")
    head = import_encoder(saved(tmp_path / "m.pth", model.state_dict()).path, GIVEN).head
    assert torch.equal(head["weight"], model.head.weight)
    assert torch.equal(head["bias"], model.head.bias)
    assert torch.equal(head["fc_norm.weight"], model.fc_norm.weight)
    for name in ("dino", "hf dinov2 with registers", "timm"):
        (tmp_path / name).mkdir()
        case = BUILDERS[name](tmp_path / name)
        assert import_encoder(case.path, case.options).head is None


def test_the_history_says_what_was_done(tmp_path):
    case = BUILDERS["mae with decoder"](tmp_path)
    history = import_encoder(case.path, case.options).encoder.history
    assert history[0] == "read as MAE below 'model.'"
    assert "left out optimizer: the optimiser's state" in history
    assert any(line.endswith("a decoder or neck behind the encoder") for line in history)
    (tmp_path / "half").mkdir()
    case = BUILDERS["half precision"](tmp_path / "half")
    history = import_encoder(case.path, case.options).encoder.history
    assert "float16 converted to float32 (30 of its tensors)" in history


def test_the_table_counts_blocks(tmp_path):
    case = BUILDERS["hf vit"](tmp_path)
    table = import_encoder(case.path, case.options).arrival.table()
    assert "arrived: 30 of 30 tensors of the encoder (100.0 %)" in table
    assert "blocks.N.attn.qkv.weight: query, key and value joined" in table
    assert "a pooling layer behind the encoder: pooler.dense.bias, pooler.dense.weight" in table


def test_a_config_beside_the_file_says_heads_eps_and_pixels(tmp_path):
    case = BUILDERS["hf vit"](tmp_path)
    write_config(tmp_path, layer_norm_eps=1e-5, num_attention_heads=2)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    spec = import_encoder(case.path).encoder.spec
    assert (spec.heads, spec.norm_eps, spec.mean) == (2, 1e-5, (0.1, 0.2, 0.3))


def test_a_config_of_another_model_is_refused(tmp_path):
    case = BUILDERS["hf vit"](tmp_path)
    write_config(tmp_path, hidden_size=64)
    with pytest.raises(ValueError, match=r"config\.json beside it says hidden_size 64, but .* 32"):
        import_encoder(case.path)
    write_config(tmp_path, hidden_size=WIDTH, hidden_act="quick_gelu")
    with pytest.raises(ValueError, match="hidden_act quick_gelu, but the encoder has gelu"):
        import_encoder(case.path)
    write_config(tmp_path, hidden_act="gelu", image_size=64)
    with pytest.raises(ValueError, match="image_size 64, but the encoder has 32"):
        import_encoder(case.path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no JSON"):
        import_encoder(case.path)


def test_a_config_says_that_the_grid_is_not_square(tmp_path):
    case = BUILDERS["hf vit"](tmp_path, image_size=(16, 64))  # 16 patches, as a square has
    history = import_encoder(case.path).encoder.history
    assert any("positions resized from 2x8 to 4x4 patches" in line for line in history)


def test_without_a_config_the_class_defaults_are_taken_and_said(tmp_path):
    case = BUILDERS["hf vit"](tmp_path)
    (tmp_path / "config.json").unlink()
    encoder = import_encoder(case.path, GIVEN).encoder
    assert encoder.spec.norm_eps == 1e-12
    assert any("norm eps 1e-12 and 4 heads assumed" in line for line in encoder.history)


def test_timms_config_says_the_pixels(tmp_path, plain):
    write_config(tmp_path, pretrained_cfg={"mean": [0.5] * 3, "std": [0.5] * 3}, num_features=WIDTH)
    spec = import_encoder(plain(), GIVEN).encoder.spec
    assert (spec.mean, spec.std) == (HALF, HALF)


def test_the_documentation_lists_every_format():
    page = (Path(__file__).parents[3] / "docs" / "encoders.md").read_text()
    assert all(f"`{known.name}`" in page for known in FORMATS)
