import pytest
import torch

from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective
from pretrain.masking import patch_order


@pytest.mark.parametrize("sampling", ["random", "block", "grid"])
@pytest.mark.parametrize("side", [8, 14])
def test_every_patch_is_there_once_and_the_noise_decides(sampling, side):
    torch.manual_seed(0)
    noise = torch.rand(4, side**2)
    order = patch_order(noise, sampling, side**2 // 4)
    everywhere = torch.arange(side**2).expand(4, -1)
    assert torch.equal(order.sort(dim=1).values, everywhere)
    assert torch.equal(patch_order(noise, sampling, side**2 // 4), order)
    if sampling != "grid":
        other = patch_order(noise.flip(0), sampling, side**2 // 4)
        assert not torch.equal(other, order)
        assert torch.equal(other.flip(0), order)


def hidden_map(sampling, side=14):
    torch.manual_seed(0)
    order = patch_order(torch.rand(64, side**2), sampling, side**2 // 4)
    hidden = torch.zeros(64, side**2).scatter(1, order[:, side**2 // 4 :], 1.0)
    return hidden.view(64, side, side)


def test_the_grid_keeps_one_patch_of_every_two_by_two():
    hidden = hidden_map("grid")
    assert (hidden[:, ::2, ::2] == 0).all()
    assert hidden.sum(dim=(1, 2)).eq(14 * 14 * 3 // 4).all()


def test_blocks_hide_neighbours_together():
    def alike(hidden):
        return (hidden[:, 1:] == hidden[:, :-1]).float().mean().item()

    assert alike(hidden_map("block")) > 0.8
    assert alike(hidden_map("random")) == pytest.approx(0.625, abs=0.02)  # .75^2 + .25^2


@pytest.mark.parametrize(
    "fields",
    [{"mask_ratio": 0.5}, {"arch": "vit_huge_patch14", "image_size": 210}],
)
def test_a_grid_needs_its_ratio_and_an_even_side(fields):
    with pytest.raises(ValueError, match=r"mae\.mask_sampling must be random or block unless"):
        MAE(mask_sampling="grid", **fields)


SMALL = {
    "arch": "vit_smoke_patch8",
    "image_size": 32,
    "decoder_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


def test_mask_tokens_in_the_encoder_reach_every_block():
    torch.manual_seed(0)
    model = MAEObjective(MAE(**SMALL, encode_mask_tokens=True))
    seen = []
    model.blocks[0].register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    model(images).backward()
    assert seen == [17]
    assert model.mask_token.grad.abs().sum() > 0
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_given_noise_makes_a_step_reproducible():
    torch.manual_seed(0)
    model = MAEObjective(MAE(**SMALL))
    images = torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8)
    noise = model.noise(2)
    assert model(images, noise=noise) == model(images, noise=noise)
    assert model(images) != model(images)


@pytest.mark.parametrize(
    ("arch", "gflops"),
    [("vit_base_patch16", 58.5), ("vit_large_patch16", 124.2), ("vit_huge_patch14", 291.0)],
)
def test_the_arithmetic_of_a_training_step_is_the_known_one(arch, gflops, monkeypatch):
    monkeypatch.setattr("pretrain.mae_model.init_weights", lambda model: None)
    model = MAEObjective(MAE(arch=arch))
    assert model.training_flops / 1e9 == pytest.approx(gflops, abs=0.06)
