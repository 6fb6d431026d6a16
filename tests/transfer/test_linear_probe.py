import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mae_bench.core.compute import Compute, write_compute
from mae_bench.core.files import FACTS
from mae_bench.core.recipe import Context
from mae_bench.kit.datasets import Views
from mae_bench.kit.images import train_view
from mae_bench.kit.machine import start
from mae_bench.kit.randomness import seed_globals
from mae_bench.kit.samples import read_samples
from mae_bench.kit.split import split_batch
from mae_bench.kit.subsets import held_out, stratified
from mae_bench.kit.training import epoch_training
from transfer.classification import inputs
from transfer.imagenet_linear import FACTORS, ImagenetLinear
from transfer.linear_probe import LinearProbe, linear_probe, trained_probe

DRIVE = Path(__file__).with_name("drive.py")
RECIPE = dataclasses.replace(ImagenetLinear.demo(), epochs=3, warmup_epochs=1, batch_size=8)
PLAIN = dataclasses.replace(
    ImagenetLinear.published("vit_base_patch16", "moco_v3"),
    image_size=64,
    epochs=3,
    batch_size=8,
    lr_per_256=10.0,
)
"""MoCo v3's probe: SGD on features as they are."""


def layers(recipe, ctx, **compute):
    """Train a probe and return the weights of its layers."""
    ctx.out.mkdir()
    write_compute(ctx.out, Compute(**compute))
    machine = start(ctx.out)
    encoder, samples = inputs(ctx, recipe.image_size, machine)
    probe = trained_probe(recipe, ctx, machine, encoder, samples)
    return [torch.cat([layer.weight.flatten(), layer.bias]).detach() for layer in probe.layers]


@pytest.fixture
def ctx(tmp_path, write, roots):
    return lambda name: Context(tmp_path / name, 3, roots["imagenet"], write())


@pytest.mark.parametrize(
    ("recipe", "factors"), [(RECIPE, FACTORS), (PLAIN, (0.1, 1.0, 3.0))], ids=["lars", "sgd"]
)
def test_several_rates_at_once_give_the_weights_of_a_run_each(ctx, recipe, factors):
    together = layers(dataclasses.replace(recipe, lr_factors=factors), ctx("all"))
    assert len(together) == len(factors)
    for number, factor in enumerate(factors):
        (alone,) = layers(dataclasses.replace(recipe, lr_factors=(factor,)), ctx(str(number)))
        torch.testing.assert_close(together[number], alone, rtol=1e-6, atol=1e-6)
    assert (together[0] - together[-1]).abs().max() > 1e-2


def test_the_plain_probe_is_softmax_regression_by_momentum_sgd(ctx):
    """Held against a float64 loop over the same images, whose rate changes from epoch to epoch."""
    given = ctx("plain")
    (found,) = layers(PLAIN, given)
    machine = start(given.out)
    encoder, samples = inputs(given, PLAIN.image_size, machine)
    seed_globals(given.seed, "init")
    probe = LinearProbe(encoder, len(samples.classes), norm="none")
    weight, bias = (p.detach().double().numpy() for p in probe.layers[0].parameters())
    views = Views(samples, train_view(PLAIN.image_size, (PLAIN.crop_scale_min, 1.0)), given.seed)
    fed = epoch_training(PLAIN, given, views, machine)
    velocity = [np.zeros_like(weight), np.zeros_like(bias)]
    batches = fed.batches(0, 0, split_batch(PLAIN.batch_size, 0, 1, PLAIN.batch_size))
    for step, (images, labels) in zip(range(fed.steps), batches, strict=False):
        features = probe.features(images).double().numpy()
        scores = np.exp(features @ weight.T + bias)
        error = scores / scores.sum(axis=1, keepdims=True)
        error[np.arange(len(labels)), labels.numpy()] -= 1.0
        gradients = [error.T @ features / len(labels), error.mean(axis=0)]
        velocity = [0.9 * v + g for v, g in zip(velocity, gradients, strict=True)]
        epoch = step // fed.steps_per_epoch
        lr = 10.0 * 8 / 256 * 0.5 * (1.0 + math.cos(math.pi * epoch / 3))
        weight, bias = weight - lr * velocity[0], bias - lr * velocity[1]
    expected = torch.from_numpy(np.concatenate([weight.ravel(), bias]))
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_the_plain_probe_does_not_depend_on_how_the_batch_is_divided(ctx):
    (whole,) = layers(PLAIN, ctx("whole"))
    (parts,) = layers(PLAIN, ctx("parts"), micro_batch=2)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_the_batch_norm_sees_the_whole_batch_however_it_is_divided(ctx):
    (whole,) = layers(RECIPE, ctx("whole"))
    (parts,) = layers(RECIPE, ctx("parts"), micro_batch=2)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_two_ranks_give_the_weights_of_one(tmp_path, ctx, roots, write):
    (whole,) = layers(RECIPE, ctx("whole"))
    out = tmp_path / "ranks"
    out.mkdir()
    write_compute(out, Compute(gpus=2, micro_batch=2))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--local-addr", "127.0.0.1", "--nproc-per-node", "2", DRIVE]
    command += [out, roots["imagenet"], write(), json.dumps({**dataclasses.asdict(RECIPE)})]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stderr[-3000:]
    torch.testing.assert_close(torch.load(out / "layer.pt"), whole, rtol=1e-5, atol=1e-6)
    scores = json.loads((out / "scores.json").read_text())
    assert scores["two"] == scores["one"]
    assert scores["images"] == len(read_samples(roots["imagenet"], "val"))


def test_the_rate_is_chosen_on_training_images_and_said(tmp_path, ctx):
    recipe = dataclasses.replace(RECIPE, lr_factors=(1e-6, 1.0), held_out=0.25)
    given = ctx("chosen")
    given.out.mkdir()
    result = linear_probe(recipe, given)
    assert 0 <= result["top1"] <= 100
    chosen = json.loads((given.out / FACTS).read_text())["lr"]
    assert chosen["tried"] == pytest.approx([30.0 * 8 / 256 * 1e-6, 30.0 * 8 / 256])
    best = max(range(2), key=chosen["held_out_top1"].__getitem__)
    assert chosen["chosen"] == chosen["tried"][best]
    assert (given.out / "predictions.parquet").exists()


def test_a_layer_without_a_finite_loss_does_not_touch_the_others(encoder_of):
    probe = LinearProbe(encoder_of(), 8, num_layers=2)
    with torch.no_grad():
        probe.layers[0].weight.fill_(torch.inf)
    images = torch.randint(0, 255, (8, 3, 64, 64), dtype=torch.uint8)
    loss = probe(images, torch.arange(8))
    loss.backward()
    assert loss.isfinite()
    assert probe.layers[1].weight.grad.isfinite().all()
    with torch.no_grad():
        probe.layers[1].weight.fill_(torch.inf)
    assert not probe(images, torch.arange(8)).isfinite()


@pytest.mark.parametrize(
    ("recipe", "precision"), [(RECIPE, "fp32"), (RECIPE, "bf16"), (PLAIN, "fp32")]
)
def test_a_rate_that_diverges_does_not_end_the_run(ctx, recipe, precision):
    given = ctx(precision)
    given.out.mkdir()
    write_compute(given.out, Compute(precision=precision))
    recipe = dataclasses.replace(recipe, lr_factors=(1.0, 1e38), held_out=0.25)
    assert linear_probe(recipe, given)["top1"] > 0
    facts = json.loads((given.out / FACTS).read_text())
    assert facts["lr"]["chosen"] == facts["lr"]["tried"][0]
    assert facts["training"]["skipped_steps"] == 0


def test_an_encoder_made_elsewhere_gets_sixteen_rates_and_ours_the_papers():
    assert len(ImagenetLinear.published("vit_base_patch16", "foreign").lr_factors) == 16
    assert ImagenetLinear.published("vit_base_patch16", "mae") == ImagenetLinear()
    assert len(ImagenetLinear.published("vit_base_patch16", "simsiam").lr_factors) == 16


@pytest.mark.parametrize("origin", ["moco_v3", "simclr", "byol"])
def test_what_moco_v3s_authors_probed_gets_their_probe(origin):
    """facebookresearch/moco-v3: CONFIG.md's command and main_lincls.py's defaults."""
    recipe = ImagenetLinear.published("vit_base_patch16", origin)
    assert recipe.lr_per_256 * recipe.batch_size / 256 == 12.0
    values = ("epochs", "warmup_epochs", "optimizer", "momentum", "batch_norm", "lr_factors")
    found = tuple(getattr(recipe, name) for name in values)
    assert found == (90, 0, "sgd", 0.9, False, (1.0,))
    assert ImagenetLinear.lite("vit_large_patch16", origin).epochs == 90


def test_a_trust_coefficient_that_sgd_would_ignore_is_refused():
    with pytest.raises(ValueError, match=r"trust must be left at 0\.001 unless .*, got 0\.02"):
        dataclasses.replace(PLAIN, trust=0.02)


def test_held_out_images_are_a_share_of_each_class_and_never_trained_on(roots):
    samples = read_samples(roots["imagenet"], "train")
    rest, held = held_out(samples, 0.25, seed=1)
    assert not set(rest.names) & set(held.names)
    assert len(rest) + len(held) == len(samples)
    assert set(held.labels) == set(samples.labels)
    again = held_out(samples, 0.25, seed=1)[1]
    assert (again.names == held.names).all()
    assert (held_out(samples, 0.25, seed=2)[1].names != held.names).any()


def test_a_class_without_an_image_is_named(roots):
    samples = read_samples(roots["imagenet"], "train")
    first = samples.subset(np.flatnonzero(samples.labels > 0))
    with pytest.raises(ValueError, match=f"class {samples.classes[0]} has no images"):
        stratified(first, 0.5, seed=0)
