import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity
from torch.utils.flop_counter import FlopCounterMode

from mae_bench.core.fidelity import fidelity
from mae_bench.core.recipe import build, fields_of
from mae_bench.core.registry import load
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.work import encoder_multiply_adds, mlp_parameters

NAMES = ("moco_v3", "simsiam", "simclr", "byol", "moco_v2")
WITH_MOMENTUM = ("moco_v3", "byol", "moco_v2")
WITH_PREDICTOR = ("moco_v3", "simsiam", "byol")
BASE, LARGE = "vit_base_patch16", "vit_large_patch16"
DATA = {"classes": 8, "images": 64, "val_images": 0}

VIT = {
    "epochs": 300,
    "warmup_epochs": 40,
    "batch_size": 4096,
    "optimizer": "adamw",
    "beta2": 0.999,
    "freeze_patch_embed": True,
    "hidden_width": 4096,
    "output_width": 256,
}
RESNET = {"warmup_epochs": 0, "optimizer": "sgd", "weight_decay": 1e-4, "freeze_patch_embed": False}
PUBLISHED = {
    # Chen et al. 2021 (MoCo v3), sec. 5, Fig. 6 and A; facebookresearch/moco-v3, CONFIG.md.
    "moco_v3": VIT
    | {"lr_per_256": 1.5e-4, "weight_decay": 0.1, "temperature": 0.2}
    | {"momentum": 0.99, "momentum_schedule": "cosine", "predictor": True, "head_norm": "all"},
    "simclr": VIT | {"lr_per_256": 2e-4, "weight_decay": 0.1, "temperature": 0.1},
    "byol": VIT
    | {"lr_per_256": 1e-4, "weight_decay": 0.03}
    | {"momentum": 0.99, "momentum_schedule": "cosine", "predictor": True},
    # Chen and He 2020 (SimSiam), sec. 3 and 4; facebookresearch/simsiam.
    "simsiam": RESNET
    | {"epochs": 100, "batch_size": 512, "lr_per_256": 0.05, "output_width": 2048}
    | {"predictor": True, "predictor_width": 512, "head_norm": "all"}
    | {"fixed_predictor_lr": True, "stop_gradient": True},
    # Chen et al. 2020 (MoCo v2); facebookresearch/moco.
    "moco_v2": RESNET
    | {"epochs": 200, "batch_size": 256, "lr_per_256": 0.03, "temperature": 0.2}
    | {"momentum": 0.999, "momentum_schedule": "constant", "queue_size": 65536}
    | {"hidden_width": 2048, "output_width": 128},
}


def small(name, **fields):
    """Return the demo's recipe with a smaller encoder and batch, whose colours stay."""
    given = {
        "arch": "vit_smoke_patch8",
        "image_size": 32,
        "batch_size": 8,
        "jitter_probability": 0.0,
        "grey_probability": 0.0,
        "blur_probability": (0.0, 0.0),
        "solarize_probability": (0.0, 0.0),
    }
    return dataclasses.replace(load(name).demo(), **{**given, **fields})


def made(recipe, tmp_path):
    """Return the recipe's networks, and a batch for them."""
    torch.manual_seed(0)
    net = recipe.objective(tmp_path)
    shape = (recipe.batch_size, 2, 3, recipe.image_size, recipe.image_size)
    crops = torch.randint(0, 256, shape, dtype=torch.uint8)
    return net, (crops, net.noise(recipe.batch_size))


def trained(recipe, tmp_path, steps=3):
    """Return the networks before and after a few steps at a rate of 0.1."""
    net, batch = made(recipe, tmp_path)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = recipe.make_optimizer(net)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    for step in range(steps):
        optimizer.zero_grad()
        net(*batch).backward()
        optimizer.step()
        net.after_step((step + 1) / steps)
    return before, net


@pytest.mark.parametrize("name", NAMES)
def test_the_published_values_are_those_of_the_papers(name):
    found = fields_of(load(name).published(BASE, name))
    assert {field: found[field] for field in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", ["moco_v3", "simclr", "byol"])
def test_a_hundred_epochs_are_the_short_schedule_of_those_with_three_hundred(name):
    short = load(name).lite(BASE, name)
    assert short == dataclasses.replace(load(name).published(BASE, name), epochs=100)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arch", ["vit_small_patch16", BASE, LARGE])
def test_sizes_without_published_values_are_named_as_deviations(name, arch):
    """MoCo v3's small model has 12 heads; SimCLR and BYOL are not in its paper above ViT-B."""
    known = {"moco_v3": (BASE, LARGE), "simclr": (BASE,), "byol": (BASE,)}.get(name, ())
    recipe = load(name).published(arch, name)
    expected = "paper" if arch in known else [f"encoder {arch}: no published values for this size"]
    assert fidelity(recipe, {}) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_image_is_refused(name):
    fields = {"batch_size": 1} | ({"queue_size": 1} if name == "moco_v2" else {})
    with pytest.raises(ValueError, match=rf"{name}\.batch_size must be >= 2, .*got 1"):
        dataclasses.replace(load(name)(), **fields)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("moco_v3", {"momentum": 1.5}, r"moco_v3.momentum must be in \[0, 1\], got 1.5"),
        ("byol", {"momentum": -0.1}, r"byol.momentum must be in \[0, 1\], got -0.1"),
        ("moco_v3", {"temperature": 0.0}, "moco_v3.temperature must be > 0, got 0.0"),
        ("moco_v3", {"head_norm": "batch"}, "head_norm must be one of 'none', 'hidden', 'all'"),
        ("byol", {"momentum_schedule": "line"}, "momentum_schedule must be one of 'constant', "),
        ("simsiam", {"stop_gradient": 1}, "simsiam.stop_gradient must be bool, got 1"),
        ("simsiam", {"predictor_width": 0}, "simsiam.predictor_width must be >= 1, got 0"),
        ("simclr", {"hidden_width": 0}, "simclr.hidden_width must be >= 1, got 0"),
        ("moco_v2", {"output_width": -1}, "moco_v2.output_width must be >= 1, got -1"),
        ("moco_v2", {"queue_size": 100}, "queue_size must be a multiple of the batch of 256"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name, fields, message):
    with pytest.raises(ValueError, match=message):
        build(load(name), fields)


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_patch_embedding_stays_to_the_bit_and_another_moves(name, tmp_path):
    for frozen in (True, False):
        before, net = trained(small(name, freeze_patch_embed=frozen), tmp_path)
        for part in ("weight", "bias"):
            key = f"online.encoder.patch_embed.proj.{part}"
            assert torch.equal(net.state_dict()[key], before[key]) == frozen
        moved = "online.encoder.blocks.0.attn.qkv.weight"
        assert not torch.equal(net.state_dict()[moved], before[moved])


def parameters_of(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.mark.parametrize("name", WITH_MOMENTUM)
def test_a_momentum_of_one_never_follows_and_of_zero_follows_at_once(name, tmp_path):
    for momentum, leader in ((1.0, "start"), (0.0, "online")):
        recipe = small(name, momentum=momentum, momentum_schedule="constant")
        start = parameters_of(made(recipe, tmp_path)[0].online)
        _, net = trained(recipe, tmp_path)
        wanted = start if leader == "start" else parameters_of(net.online)
        pairs = zip(parameters_of(net.momentum), wanted, strict=True)
        assert all(torch.equal(own, led) for own, led in pairs)


@pytest.mark.parametrize("name", WITH_MOMENTUM)
def test_a_cosine_momentum_follows_at_its_start_and_rests_at_its_end(name, tmp_path):
    recipe = small(name, momentum=0.5, momentum_schedule="cosine")
    net, _ = made(recipe, tmp_path)
    first = parameters_of(net.momentum)[0]
    with torch.no_grad():
        next(net.online.parameters()).add_(1.0)
    net.queue = None
    for progress, share in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        before = parameters_of(net.momentum)[0]
        net.after_step(progress)
        led = parameters_of(net.online)[0]
        moved = parameters_of(net.momentum)[0] - before
        torch.testing.assert_close(moved, share * (led - before))
    assert not torch.equal(parameters_of(net.momentum)[0], first)


def test_without_stop_gradient_and_predictor_simsiam_has_twice_the_gradient(tmp_path):
    """Both halves of the loss are then one cosine, of which either side was held."""
    gradients = []
    for stop in (True, False):
        net, batch = made(small("simsiam", predictor=False, stop_gradient=stop), tmp_path)
        net(*batch).backward()
        gradients.append(net.online.encoder.patch_embed.proj.weight.grad)
    torch.testing.assert_close(2 * gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["simsiam", "byol"])
def test_without_a_predictor_projections_are_compared_themselves(name, tmp_path):
    net, (crops, noise) = made(small(name, predictor=False), tmp_path)
    assert net.predictor is None
    loss = net(crops, noise)
    other = net.online if name == "simsiam" else net.momentum
    cosines = [
        cosine_similarity(net.online(crops[:, one]), other(crops[:, two])).mean()
        for one, two in ((0, 1), (1, 0))
    ]
    expected = -sum(cosines) / 2 if name == "simsiam" else 4 - 2 * sum(cosines)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("name", "norms"),
    [
        ("moco_v3", {"none": (0, 0), "hidden": (2, 1), "all": (3, 2)}),
        ("simsiam", {"none": (0, 0), "hidden": (2, 1), "all": (3, 1)}),
    ],
)
def test_batch_norm_follows_the_layers_that_the_field_says(name, norms, tmp_path):
    for value, counts in norms.items():
        net, _ = made(small(name, head_norm=value), tmp_path)
        heads = (net.online.projector, net.predictor)
        found = [sum(isinstance(one, nn.BatchNorm1d) for one in head) for head in heads]
        assert tuple(found) == counts


def linear_weights(head):
    """Return the number of weights of a head's linear layers."""
    layers = [] if head is None else [one for one in head if isinstance(one, nn.Linear)]
    return sum(layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("predictor", [True, False])
def test_heads_have_the_weights_that_the_recipe_says(name, predictor, tmp_path):
    fields = {"predictor": predictor} if name in WITH_PREDICTOR else {}
    recipe = small(name, **fields)
    net, _ = made(recipe, tmp_path)
    found = linear_weights(net.online.projector), linear_weights(net.predictor)
    sizes = recipe.head_sizes(ARCHS[recipe.arch].width)
    assert found == tuple(map(mlp_parameters, sizes))
    assert bool(found[1]) == (predictor and name in WITH_PREDICTOR)


@pytest.mark.parametrize("name", NAMES)
def test_work_is_what_torch_counts(name, tmp_path):
    """Up to what is left out: the loss, and that images have no gradient."""
    fields = {"arch": "vit_tiny_patch16", "image_size": 64, "epochs": 2, "warmup_epochs": 0}
    recipe = small(name, **fields, freeze_patch_embed=False)
    net, batch = made(recipe, tmp_path)
    work = recipe.work(ARCHS[recipe.arch], DATA)
    with FlopCounterMode(display=False) as counter:
        net(*batch).backward()
    counted = counter.get_total_flops() / recipe.batch_size * recipe.epochs * DATA["images"]
    assert net.training_flops * recipe.epochs * DATA["images"] == pytest.approx(counted, rel=0.05)
    assert work.flops == pytest.approx(counted, rel=0.05)
    assert work.flops == net.training_flops * recipe.epochs * DATA["images"]
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert work.trained == pytest.approx(parameters, rel=0.01)
    followed = 0 if net.momentum is None else sum(p.numel() for p in net.momentum.parameters())
    assert work.frozen == pytest.approx(followed, rel=0.01)


@pytest.mark.parametrize(
    ("name", "epochs", "trained", "followed"),
    [
        ("moco_v3", 300, 2, 2),
        ("simclr", 300, 2, 0),
        ("byol", 300, 2, 2),
        ("simsiam", 100, 2, 0),
        ("moco_v2", 200, 1, 1),
    ],
)
def test_a_published_run_of_vit_base_is_counted_as_by_hand(name, epochs, trained, followed):
    """17.5 billion multiply-adds an image and pass; a trained one costs three, a follower's one."""
    arch = ARCHS["vit_base_patch16"]
    assert encoder_multiply_adds(arch, 224) / 1e9 == pytest.approx(17.5, abs=0.1)
    recipe = load(name).published("vit_base_patch16", name)
    data = {"classes": 1000, "images": 1_281_167, "val_images": 50_000}
    by_hand = 2 * 17.5e9 * (3 * trained + followed) * epochs * 1_281_167
    heads = 1.02  # projectors and predictors
    assert recipe.work(arch, data).flops == pytest.approx(by_hand * heads, rel=0.03)
