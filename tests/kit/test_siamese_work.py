import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mae_bench.core.registry import load
from mae_bench.kit.archs import ARCHS
from mae_bench.kit.offers import offers
from mae_bench.kit.work import encoder_multiply_adds

ONE = {"classes": 8, "images": 1, "val_images": 0}


@pytest.mark.parametrize("name", ["moco_v3", "simclr", "byol", "simsiam", "moco_v2"])
def test_a_training_image_costs_what_torch_counts_for_its_step(name, tmp_path):
    recipe = dataclasses.replace(load(name).demo(), epochs=1, warmup_epochs=0)
    torch.manual_seed(0)
    net = recipe.objective(tmp_path)
    side = recipe.image_size
    first, second = torch.randint(0, 255, (2, 4, 3, side, side), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        recipe.loss(net, first, second).backward()
    counted = recipe.work(ARCHS[recipe.arch], ONE).flops
    assert offers(net).training_flops == counted
    assert counted == pytest.approx(counter.get_total_flops() / 4, rel=0.03)


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
