import dataclasses
import json

import numpy as np
import pytest
import torch

from mae_bench.kit import archs
from mae_bench.kit.archs import Arch
from mae_bench.kit.encoder import check_state
from mae_bench.kit.optim import decay_groups
from mae_bench.kit.vit import gather_tokens
from pretrain.mae import MAE
from pretrain.mae_model import MAEObjective
from pretrain.pixels import images_of, patches_of, target


@pytest.fixture
def golden(golden_file):
    return np.load(golden_file("mae_forward.npz"))


@pytest.fixture
def build(golden, monkeypatch):
    """Return a function that builds the golden file's autoencoder with its weights."""
    config = json.loads(str(golden["config"]))
    arch = Arch(config["embed_dim"], config["depth"], config["num_heads"], config["patch_size"])
    monkeypatch.setitem(archs.ARCHS, "golden", arch)
    recipe = dataclasses.replace(
        MAE(),
        arch="golden",
        image_size=config["img_size"],
        mask_ratio=config["mask_ratio"],
        decoder_width=config["decoder_embed_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_num_heads"],
    )

    def make(norm_pix):
        model = MAEObjective(dataclasses.replace(recipe, norm_pix=norm_pix))
        state = {k[6:]: torch.tensor(golden[k]) for k in golden.files if k.startswith("state/")}
        model.load_state_dict(state, strict=True)
        return model

    return make


@pytest.mark.parametrize("norm_pix", [False, True])
def test_loss_and_gradients_equal_the_reference(golden, build, norm_pix):
    kind = "norm_pix" if norm_pix else "pixel"
    model = build(norm_pix)
    loss = model.loss(torch.tensor(golden["images"]), torch.tensor(golden["noise"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(golden[f"{kind}/loss"]), rel=1e-6)
    prefix = f"{kind}/grad/"
    names = [key for key in golden.files if key.startswith(prefix)]
    assert len(names) >= 6
    for key in names:
        ours = model.get_parameter(key.removeprefix(prefix)).grad.numpy()
        scale = np.abs(golden[key]).max()
        np.testing.assert_allclose(ours, golden[key], rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_three_optimiser_steps_give_the_losses_of_the_reference(golden, build, norm_pix):
    model = build(norm_pix)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.05), lr=1e-3, betas=(0.9, 0.95))
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model.loss(torch.tensor(golden["images"]), torch.tensor(golden["noise"]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    kind = "norm_pix" if norm_pix else "pixel"
    np.testing.assert_allclose(losses, golden[f"{kind}/losses_adamw_lr1e-3"], rtol=1e-5)


def test_latent_mask_and_predictions_equal_the_reference(golden, build):
    model = build(False)
    images, noise = torch.tensor(golden["images"]), torch.tensor(golden["noise"])
    visible, masked = model.split(noise)
    mask = torch.ones_like(noise).scatter(1, visible, 0.0)
    np.testing.assert_array_equal(mask.numpy(), golden["mask"])
    latent = model.norm(model.encode(images, visible))
    np.testing.assert_allclose(latent.detach(), golden["latent"], rtol=1e-5, atol=1e-5)
    wanted = gather_tokens(torch.tensor(golden["pred"]), masked)
    ours = model.decode(latent, visible, masked)
    np.testing.assert_allclose(ours.detach(), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "visible"),
    [("vit_base_patch16", 49), ("vit_large_patch16", 49), ("vit_huge_patch14", 64)],
)
def test_a_quarter_of_the_patches_stays_visible(arch, visible):
    side = archs.ARCHS[arch].patch_size
    noise = torch.rand(2, (224 // side) ** 2)
    with torch.device("meta"):
        model = MAEObjective(MAE(arch=arch))
    kept, hidden = model.split(noise)
    assert kept.shape == (2, visible)
    joined = torch.cat([kept, hidden], dim=1).sort(dim=1).values
    assert torch.equal(joined, torch.arange(noise.shape[1]).expand(2, -1))


def test_initialisation_has_the_statistics_of_the_paper():
    torch.manual_seed(0)
    model = MAEObjective(MAE.demo())
    width = model.spec.width
    qkv = model.blocks[0].attn.qkv
    bound = (6 / (width + 3 * width)) ** 0.5
    assert qkv.weight.abs().max() <= bound
    assert qkv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    kernel = model.patch_embed.proj.weight
    fan = (6 / (width + kernel[0].numel())) ** 0.5
    assert kernel.std().item() == pytest.approx(fan / 3**0.5, rel=0.03)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.25)
    assert all(not b.any() for n, b in model.named_parameters() if n.endswith("bias"))
    assert not model.pos_embed.requires_grad
    assert not model.decoder_pos_embed.requires_grad


def test_cls_and_mask_token_decay_but_biases_and_norms_do_not():
    model = MAEObjective(MAE.demo())
    decayed, free = decay_groups(model, 0.05)
    assert any(p is model.cls_token for p in decayed["params"])
    assert any(p is model.mask_token for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])


def test_the_encoder_state_is_the_whole_encoder_and_nothing_else():
    model = MAEObjective(MAE.demo())
    check_state("mae", model.spec, model.encoder_state())


def test_patches_are_channel_last_and_come_back():
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8).float()
    patches = patches_of(images, 4)
    assert patches[0, 1, :6].tolist() == [
        images[0, c, 0, x].item() for x in (4, 5) for c in range(3)
    ]
    assert torch.equal(images_of(patches, 4), images)


def test_normalised_targets_have_zero_mean_and_unit_unbiased_variance():
    wanted = target(torch.rand(2, 3, 16, 16), 8, norm_pix=True)
    torch.testing.assert_close(wanted.mean(dim=2), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(wanted.var(dim=2), torch.ones(2, 4), atol=1e-3, rtol=0)
