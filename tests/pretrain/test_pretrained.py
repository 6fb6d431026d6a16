import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from mae_bench.kit.images import normalize
from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective
from pretrain.pretrained import load_pretrained, save_pretrained
from pretrain.reconstruct import GREY, paint, reconstruct, reconstructions

RECIPE = MAE(
    arch="vit_smoke_patch8",
    image_size=64,
    decoder_width=16,
    decoder_depth=1,
    decoder_heads=2,
    mask_sampling="grid",
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    model = MAEObjective(RECIPE)
    save_pretrained(model, tmp_path / "pretrained.safetensors")
    return tmp_path, model


def test_the_whole_autoencoder_comes_back(saved):
    folder, model = saved
    found = load_pretrained(folder / "encoder.safetensors")
    assert found.recipe == RECIPE
    assert not found.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor)


def test_a_picture_has_a_column_for_each_image(saved):
    folder, _ = saved
    files = []
    for name in ("coffee", "chelsea"):
        files.append(folder / f"{name}.png")
        Image.fromarray(getattr(data, name)()).save(files[-1])
    reconstruct(folder / "encoder.safetensors", files, folder / "out" / "grid.png", seed=0)
    with Image.open(folder / "out" / "grid.png") as picture:
        assert picture.size == (2 * 64 + 4, 3 * 64 + 8)


def test_visible_patches_are_pasted_and_a_perfect_prediction_gives_the_image_back(saved):
    _, model = saved
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    images[images == GREY] = 0
    original, hidden, painted = reconstructions(model, images, seed=0)
    assert torch.equal(original, images)
    visible = hidden == images
    assert torch.equal(painted[visible], images[visible])

    class Perfect(MAEObjective):
        def predict(self, pixels, visible, masked):
            from mae_bench.kit.vit import gather_tokens
            from pretrain.pixels import target

            return gather_tokens(target(pixels, 8, True), masked)

    perfect = Perfect(RECIPE)
    again = paint(perfect, normalize(images), torch.rand(2, 64))
    assert np.abs(again.int() - images.int()).max() <= 1


@pytest.mark.parametrize("kind", ["missing", "no safetensors", "another"])
def test_a_file_without_a_decoder_is_refused_by_name(tmp_path, kind):
    path = tmp_path / "pretrained.safetensors"
    if kind == "no safetensors":
        path.write_bytes(b"nothing")
    elif kind == "another":
        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"pretrained\.safetensors"):
        load_pretrained(tmp_path / "encoder.safetensors")
