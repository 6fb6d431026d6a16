import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from mae_bench.core.registry import load
from mae_bench.kit.datasets import Feed, Order, Views
from mae_bench.kit.figures import shows
from mae_bench.kit.samples import read_samples
from mae_bench.kit.split import split_batch
from pretrain.view_figure import SHOWN, save_views

NAMES = ("moco_v3", "simsiam", "simclr", "byol", "moco_v2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return an ImageNet folder of 16 images of noise in two classes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for i in range(16):
        path = root / "train" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (80, 96, 3), dtype=np.uint8)).save(path)
    return root


def networks(data, name="moco_v3"):
    torch.manual_seed(0)
    fields = {"arch": "vit_smoke_patch8", "image_size": 64}
    return dataclasses.replace(load(name).demo(), **fields).objective(data)


def batches(net, data, workers, world=1, micro=4):
    """Return the coloured views of two steps, put together over ranks and micro-batches."""
    views = Views(read_samples(data, "train"), net.view(), seed=3)
    feeds = [Feed(views, Order(16, 8, 1, seed=3), workers) for _ in range(world)]
    splits = [split_batch(8, rank, world, micro) for rank in range(world)]
    loads = [feed.batches(0, 0, split) for feed, split in zip(feeds, splits, strict=True)]
    found = []
    for step in range(2):
        noise = torch.rand(8, 2, 10, generator=torch.Generator().manual_seed(step))
        for load_one, split in zip(loads, splits, strict=True):
            for part in range(split.parts):
                crops, _ = next(load_one)
                found.append(torch.stack(net.coloured(crops, noise[split.rows(part)]), dim=1))
    return torch.cat(found)


def test_views_are_the_same_on_any_workers_ranks_and_micro_batches(data):
    net = networks(data)
    alone = batches(net, data, workers=0, micro=8)
    assert alone.shape == (16, 2, 3, 64, 64)
    assert torch.equal(batches(net, data, workers=2), alone)
    assert torch.equal(batches(net, data, workers=0, world=2, micro=2), alone)


def test_the_two_crops_of_an_image_differ_and_come_again_with_its_epoch(data):
    views = Views(read_samples(data, "train"), networks(data).view(), seed=0)
    for image in range(16):
        (first, second), _, _ = views[0, image]
        assert not torch.equal(first, second)
        assert torch.equal(views[0, image][0], torch.stack([first, second]))
        assert not torch.equal(views[1, image][0][0], first)


# Crop, jitter, its share, grey, blur and solarisation of first and second view, as published.
BYOLS = (0.08, (0.4, 0.4, 0.2, 0.1), 0.8, 0.2, (1.0, 0.1), (0.0, 0.2))
MOCO_V2S = (0.2, (0.4, 0.4, 0.4, 0.1), 0.8, 0.2, (0.5, 0.5), (0.0, 0.0))


@pytest.mark.parametrize("name", NAMES)
def test_views_are_those_of_the_papers(name):
    recipe = load(name)()
    found = (recipe.crop_scale_min, recipe.jitter, recipe.jitter_probability)
    found += (recipe.grey_probability, recipe.blur_probability, recipe.solarize_probability)
    assert found == (MOCO_V2S if name in ("simsiam", "moco_v2") else BYOLS)
    assert recipe.blur_sigma == (0.1, 2.0)


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_view_reaches_its_colours(name, data):
    fields = {
        "jitter": (0.1, 0.2, 0.3, 0.4),
        "jitter_probability": 0.11,
        "grey_probability": 0.22,
        "blur_probability": (0.33, 0.44),
        "solarize_probability": (0.55, 0.66),
        "blur_sigma": (0.7, 0.8),
    }
    net = networks(data, name)
    net.recipe = dataclasses.replace(net.recipe, **fields)
    for index in (0, 1):
        pairs = ("blur_probability", "solarize_probability")
        wanted = fields | {field: fields[field][index] for field in pairs}
        assert vars(net.colours(index)) == wanted


@pytest.mark.parametrize("sigma", [(0.0, 1.0), (2.0, 1.0)])
def test_a_blur_without_width_or_upside_down_is_refused(sigma):
    with pytest.raises(ValueError, match="blur_sigma must be > 0, the lowest first"):
        dataclasses.replace(load("moco_v3")(), blur_sigma=sigma)


def test_the_figure_shows_eight_images_and_their_views(data, tmp_path):
    path = tmp_path / "figures" / "views.png"
    net = networks(data)
    save_views(net, data, path)
    first = path.read_bytes()
    save_views(net, data, path)
    assert path.read_bytes() == first
    assert shows(path) == SHOWN
    with Image.open(path) as picture:
        assert picture.size == (8 * 68 - 4, 3 * 68 - 4)
