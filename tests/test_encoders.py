import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer as TimmViT
from transformers import ViTConfig, ViTModel

from mae_bench.core.demo_data import DemoData, demo_roots
from mae_bench.kit.scene_files import make_demo

PROGRAM = Path(sys.executable).with_name("mae-bench")


def call(*words, cwd, **environment):
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "HF_HUB_OFFLINE": "1", **environment},
    )


def save_vit(path, seed=0):
    """Write a small ViT as a training script would."""
    torch.manual_seed(seed)
    model = TimmViT(64, 8, embed_dim=32, depth=4, num_heads=2, num_classes=0)
    torch.save({"model": model.state_dict(), "epoch": 3}, path)
    return model


@pytest.fixture
def file(tmp_path):
    save_vit(tmp_path / "mine.pth")
    return tmp_path / "mine.pth"


def test_an_added_encoder_is_proven_listed_and_found_by_name(tmp_path, file):
    answer = call("encoders", "add", file, "--origin", "dino", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "arrived: 54 of 54 tensors" in answer.stdout
    kept = load_file(tmp_path / "runs" / "encoders" / "mine.safetensors")
    assert torch.equal(kept["norm.weight"], torch.load(file)["model"]["norm.weight"])
    again = call("encoders", "add", file, "--origin", "dino", cwd=tmp_path)
    assert "there already, the same" in again.stdout
    listed = call("encoders", "list", cwd=tmp_path).stdout
    assert listed.startswith("mine ")
    assert "vit_smoke_patch8" in listed
    assert "origin dino" in listed


def test_a_name_is_not_given_to_other_weights(tmp_path, file):
    assert call("encoders", "add", file, cwd=tmp_path).returncode == 0
    kept = (tmp_path / "runs" / "encoders" / "mine.safetensors").read_bytes()
    save_vit(file, seed=1)
    answer = call("encoders", "add", file, cwd=tmp_path)
    assert answer.returncode == 2
    assert "pass --name" in answer.stderr
    assert (tmp_path / "runs" / "encoders" / "mine.safetensors").read_bytes() == kept


def test_show_writes_nothing(tmp_path, file):
    answer = call("encoders", "show", file, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "vit_smoke_patch8" in answer.stdout
    assert not (tmp_path / "runs").exists()


def test_a_cnn_is_refused_and_nothing_written(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.randn(4, 3, 7, 7), "fc.weight": torch.randn(4, 4)}, path)
    for words in (["encoders", "add"], ["transfer", "imagenet_linear", "--encoder"]):
        answer = call(*words, path, cwd=tmp_path)
        assert answer.returncode == 2
        assert "resnet.pth" in answer.stderr
        assert "Traceback" not in answer.stderr
    assert not list(tmp_path.glob("runs/**/*.safetensors"))


def test_export_and_add_give_the_same_tensors(tmp_path, file):
    call("encoders", "add", file, cwd=tmp_path)
    for name in ("detectron2", "mmseg"):
        out = tmp_path / f"{name}.pth"
        answer = call("encoders", "export", "mine", "--format", name, "-o", out, cwd=tmp_path)
        assert answer.returncode == 0, answer.stderr
        assert call("encoders", "add", out, "--name", f"from-{name}", cwd=tmp_path).returncode == 0
        folder = tmp_path / "runs" / "encoders"
        first, second = (load_file(folder / f"{n}.safetensors") for n in ("mine", f"from-{name}"))
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:vit_bas_patch16_224", "did you mean timm:vit_base_patch"),
        ("timm:vit_tiny_patch16_224", "where there is no network, fetch the file on another"),
        ("hf:nobody/nothing", "where there is no network, fetch the file on another"),
        ("nothing", "there is no such file"),
    ],
)
def test_a_name_that_cannot_be_fetched_says_what_to_do(tmp_path, name, message):
    answer = call("transfer", "imagenet_linear", "--encoder", name, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert message in answer.stderr
    assert not list(tmp_path.glob("runs/**/*.safetensors"))


def test_a_model_of_the_hub_is_taken_from_its_cache(tmp_path):
    revision = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub" / "models--someone--small-vit"
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    config = ViTConfig(intermediate_size=128, image_size=64, patch_size=8, **sizes)
    model = ViTModel(config, add_pooling_layer=False)
    model.save_pretrained(cache / "snapshots" / revision)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(revision)
    words = ["encoders", "export", "hf:someone/small-vit", "--format", "hf", "-o", "out"]
    answer = call(*words, cwd=tmp_path, HF_HUB_CACHE=str(tmp_path / "hub"))
    assert answer.returncode == 0, answer.stderr
    assert "100 % of 54 tensors arrived" in answer.stdout
    copy = ViTModel.from_pretrained(tmp_path / "out", add_pooling_layer=False)
    theirs = model.state_dict()
    assert copy.state_dict().keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in copy.state_dict().items())


def test_a_foreign_file_runs_where_an_encoder_is_named(tmp_path, file):
    sizes = DemoData(num_train_images=32, num_val_images=16, num_train_scenes=8, num_val_scenes=8)
    make_demo(tmp_path / "demo", sizes)
    root = demo_roots(tmp_path / "demo")["imagenet"]
    words = ["transfer", "imagenet_linear", "--size", "demo", "--encoder", file]
    words += ["--batch-size", "16", "--imagenet", root]
    answer = call(*words, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    assert "fidelity: " in answer.stdout
    (result,) = tmp_path.glob("runs/*/result.json")
    provenance = json.loads(result.read_text())["provenance"]
    assert any("timm" in line for line in provenance["facts"]["encoder"]["history"])
    assert len(list(tmp_path.glob("runs/encoders/converted/*.safetensors"))) == 1
    answer = call(*words, cwd=tmp_path)
    assert answer.returncode == 0
