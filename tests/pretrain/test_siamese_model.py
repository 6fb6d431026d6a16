import copy
import math
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mae_bench.core.compute import Compute
from mae_bench.core.registry import load
from mae_bench.kit.keeper import ALONE
from mae_bench.kit.loop import _Run, train
from mae_bench.kit.machine import Machine
from mae_bench.kit.schedule import WarmupCosine, scaled_lr
from mae_bench.kit.training import Training

NAMES = ("moco_v3", "simsiam", "simclr", "byol", "moco_v2")
SMALL = {
    "arch": "vit_smoke_patch8",
    "image_size": 32,
    "epochs": 4,
    "warmup_epochs": 1,
    "batch_size": 8,
}
WIDTHS = {"simsiam": {"output_width": 32, "predictor_width": 8}, "moco_v2": {"queue_size": 48}}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small matrices are slower on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe_of(name, **fields):
    widths = {} if name == "simsiam" else {"hidden_width": 32, "output_width": 16}
    return load(name)(**SMALL | widths | WIDTHS.get(name, {}) | fields)


def build(recipe):
    torch.manual_seed(0)
    return recipe.objective(Path())


def images(number=8):
    drawn = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (number, 2, 3, 32, 32), dtype=torch.uint8, generator=drawn)


def training_of(recipe, out, **compute):
    """Return a run of the recipe over four batches of made-up images an epoch."""

    def batches(start, detour, split):
        for step in range(start, 8):
            for _ in range(split.parts):
                yield images().roll(step, 0)[split.rows(0)], torch.zeros(split.micro)

    lr = scaled_lr(recipe.lr_per_256, recipe.batch_size)
    return Training(
        out=out,
        seed=0,
        steps=8,
        steps_per_epoch=2,
        batch_size=recipe.batch_size,
        batches=batches,
        lr_at=WarmupCosine(lr, 0.0, recipe.warmup_epochs, recipe.epochs).at,
        machine=Machine(ALONE.ranks, Compute(**compute)),
        image_size=recipe.image_size,
    )


def snapshot(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_not_finite_leaves_no_trace(tmp_path, monkeypatch, name):
    """Its NaN are in the images' pixels: they pass every BatchNorm and reach the keys."""
    monkeypatch.setattr("mae_bench.kit.pace.LOG_EVERY_S", -1.0)
    recipe = recipe_of(name, lr_per_256=0.1, warmup_epochs=0)
    net, before = build(recipe), []
    net.register_forward_pre_hook(lambda *given: before.append(snapshot(net)))

    def spoil(encoder, given):
        return (given[0] * float("nan"),) if len(before) - 1 in (0, 3) else given

    for branch in (net.online, net.momentum):
        if branch is not None:
            branch.encoder.register_forward_pre_hook(spoil)
    train(net, recipe.make_optimizer(net), training_of(recipe, tmp_path))
    followers = {f"momentum.{key}" for key, _ in (net.momentum or nn.Module()).named_parameters()}
    for step in (0, 3):
        at, after, later = before[step : step + 3]
        assert all(torch.equal(at[key], after[key]) for key in at.keys() - followers)
        assert not torch.equal(later["online.encoder.cls_token"], at["online.encoder.cls_token"])
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


def rates(recipe, out):
    net = build(recipe)
    optimizer, found = recipe.make_optimizer(net), []
    net.register_forward_pre_hook(
        lambda *given: found.append([group["lr"] for group in optimizer.param_groups])
    )
    train(net, optimizer, training_of(recipe, out))
    return net, optimizer, found


def test_the_predictors_rate_stays_while_the_others_warm_up_and_decay(tmp_path):
    net, optimizer, found = rates(recipe_of("simsiam", lr_per_256=0.8), tmp_path)
    base = 0.8 * 8 / 256
    cosines = [base * 0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
    wanted = [base * step / 2 for step in range(2)] + cosines
    assert [rate for rate, _ in found] == pytest.approx(wanted, abs=1e-12)
    assert {rate for _, rate in found} == {base}
    kept = optimizer.param_groups[1]["params"]
    assert [id(p) for p in kept] == [id(p) for p in net.predictor.parameters()]
    both = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(both) == sorted(id(p) for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_fixed_rate_all_tensors_share_the_schedule(tmp_path, name):
    fields = {"fixed_predictor_lr": False} if name == "simsiam" else {}
    recipe = recipe_of(name, **fields)
    (group,) = recipe.make_optimizer(build(recipe)).param_groups
    assert "constant_lr" not in group


def test_sgd_left_out_of_its_first_step_goes_on_as_if_it_began_there():
    recipe = recipe_of("moco_v2")
    weights = []
    for bad in (0, 3):
        net = build(recipe)
        optimizer = recipe.make_optimizer(net)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        for step in range(bad + 2):
            for parameter in net.online.parameters():
                parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
            optimizer.found_inf = torch.tensor(float(step < bad))
            optimizer.step()
        weights.append(snapshot(net))
    assert all(torch.equal(weights[1][key], tensor) for key, tensor in weights[0].items())


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that operations made and that are still there."""

    def __init__(self):
        super().__init__()
        self.bytes = self.most = 0
        self.seen = set()

    def gone(self, place, size):
        self.bytes -= size
        self.seen.discard(place)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                place, size = storage._cdata, storage.nbytes()
                if place not in self.seen:
                    self.seen.add(place)
                    weakref.finalize(storage, self.gone, place, size)
                    self.bytes += size
                    self.most = max(self.most, self.bytes)
        return out


def most_alive(chunk):
    """Return the most bytes alive in forward and backward pass, without gradients of weights.

    Colours are changed before, in slices of their own.
    """
    net = build(recipe_of("simclr"))
    first, second = images(16).unbind(1)
    net.chunk = chunk
    weights = sum(p.numel() * 4 for p in net.parameters() if p.requires_grad)
    with Alive() as alive:
        net.recipe.loss(net, first, second).backward()
    return alive.most - weights


def test_only_a_chunks_activations_are_alive_at_a_time():
    whole, quarter, single = (most_alive(chunk) for chunk in (16, 4, 1))
    assert quarter < 0.35 * whole
    assert single < 0.6 * quarter


@pytest.mark.parametrize("name", NAMES)
def test_a_try_of_what_fits_leaves_no_trace(tmp_path, name):
    recipe = recipe_of(name)
    net = build(recipe)
    run = _Run(net, recipe.make_optimizer(net), training_of(recipe, tmp_path))
    before = copy.deepcopy(net.state_dict())
    run._attempt(4)
    assert net.chunk == 4
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_chunks_give_the_gradients_of_one_pass(name):
    gradients = []
    for chunk in (0, 2):
        net = build(recipe_of(name, freeze_patch_embed=False))
        net.chunk = chunk
        net(images(), torch.full((8, 2, 10), 0.3)).backward()
        gradients.append([p.grad for p in net.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_followers_pass_is_not_computed_again():
    """It has no gradient, so nothing of it would be kept anyway."""
    net = build(recipe_of("byol"))
    net.chunk = 4
    calls = {"online": 0, "momentum": 0}
    for name in calls:

        def count(*given, name=name):
            calls[name] += 1

        getattr(net, name).encoder.register_forward_pre_hook(count)
    net(images(), net.noise(8)).backward()
    assert calls == {"online": 8, "momentum": 4}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_on_the_real_loop(tmp_path, precision):
    recipe = recipe_of("moco_v3", lr_per_256=1e-2)
    nets = [build(recipe) for _ in range(2)]
    for net, chosen in zip(nets, ("fp32", precision), strict=True):
        out = tmp_path / chosen
        out.mkdir()
        train(net, recipe.make_optimizer(net), training_of(recipe, out, precision=chosen))
    one, other = (torch.cat([p.flatten() for p in net.online.parameters()]) for net in nets)
    assert one.isfinite().all()
    assert not torch.equal(one, other)
    assert (one - other).norm() < 0.1 * one.norm()
