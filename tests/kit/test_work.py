import dataclasses
from pathlib import Path

import pytest
import torch

from mae_bench.core.registry import OBJECTIVES, TASKS, load
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.checkpoint import Checkpoints
from mae_bench.kit.facts import multiply_adds
from mae_bench.kit.gpus import kind_of
from mae_bench.kit.parallel import full_state
from mae_bench.kit.spec import named_spec
from mae_bench.kit.vit import VisionTransformer
from mae_bench.kit.work import Work, encoder_multiply_adds, encoder_parameters
from mae_bench.suite.cost.counting import counts
from pretrain.mae import MAE
from transfer.coco_vitdet import CocoVitDet
from transfer.imagenet_partial import ImagenetPartial

BASE, LARGE, HUGE = "vit_base_patch16", "vit_large_patch16", "vit_huge_patch14"
DATA = {"classes": 1000, "images": 1_281_167, "val_images": 50_000}


@pytest.mark.parametrize("arch", ["vit_tiny_patch16", "vit_demo_patch8"])
def test_an_encoder_is_counted_as_torch_and_fvcore_count_it(arch):
    spec = named_spec(arch, 64, "mae")
    model = VisionTransformer(spec)
    parameters = sum(p.numel() for p in model.parameters())
    assert encoder_parameters(ARCHS[arch], 64) == pytest.approx(parameters, rel=1e-3)
    assert encoder_multiply_adds(ARCHS[arch], 64) == pytest.approx(
        multiply_adds(model, spec), rel=0.01
    )


@pytest.mark.parametrize(("arch", "gflops"), [(BASE, 58.5), (LARGE, 124.2), (HUGE, 291.0)])
def test_a_training_image_of_mae_costs_what_the_model_costs_on_paper(arch, gflops):
    assert round(MAE(arch=arch).training_flops / 1e9, 1) == pytest.approx(gflops, abs=0.1)


def test_a_detector_has_the_parameters_that_detectron2_reports():
    """ViTDet, ViT-B: 111 million."""
    work = CocoVitDet().work(ARCHS[BASE], counts(CocoVitDet()))
    assert work.trained == pytest.approx(111e6, rel=0.03)


@pytest.mark.parametrize("name", sorted(OBJECTIVES | TASKS))
def test_every_recipe_says_its_work_and_costs_of_known_gpus(name):
    cls = load(name)
    recipe = cls.published(LARGE, "mae")
    work = recipe.work(ARCHS[LARGE], counts(recipe))
    assert work.left_bytes > 0
    assert (work.flops > 0) == (name != "random_init")
    for cost in getattr(cls, "published_costs", ()):
        assert kind_of(cost.device) is not None
        assert cost.source
        assert cost.hours > 0


def test_twice_the_epochs_are_twice_the_training():
    once, twice = (MAE(epochs=n).work(ARCHS[LARGE], DATA).flops for n in (400, 800))
    tested = 2 * once - twice
    assert 0 < tested < 1e-4 * once


def test_frozen_blocks_cost_a_forward_pass_alone():
    arch = ARCHS[BASE]
    runs = [
        ImagenetPartial(blocks=(one,), epochs=100).work(arch, {**DATA, "val_images": 0}).flops
        for one in ("0", "6", "all")
    ]
    assert runs[0] * 3 == pytest.approx(runs[2])
    assert runs[1] * 3 == pytest.approx(runs[2] * 2)


def test_blocks_that_an_encoder_does_not_have_cost_nothing():
    arch = ARCHS[BASE]
    some = ImagenetPartial(blocks=("0",)).work(arch, DATA).flops
    assert ImagenetPartial(blocks=("0", "18")).work(arch, DATA).flops == some


def test_a_checkpoint_is_as_large_as_it_is_taken_for(tmp_path: Path):
    model = torch.nn.Linear(512, 512)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 512)).sum().backward()
    optimizer.step()
    Checkpoints(tmp_path).save(1, {**full_state(model, optimizer), "step": 1, "extra": {}})
    (written,) = tmp_path.iterdir()
    work = Work(flops=1.0, trained=sum(p.numel() for p in model.parameters()))
    assert written.stat().st_size == pytest.approx(work.checkpoint_bytes, rel=0.01)


def test_averaged_weights_are_kept_beside_those_that_are_trained():
    supervised = load("supervised")
    with_average = supervised().work(ARCHS[BASE], DATA)
    without = dataclasses.replace(supervised(), ema_decay=0.0).work(ARCHS[BASE], DATA)
    assert with_average.checkpoint_bytes * 3 == without.checkpoint_bytes * 4
