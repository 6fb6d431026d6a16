import random
from itertools import permutations

import pytest
import torch
from PIL import Image, ImageOps
from skimage import data
from torchvision.transforms import functional as classic
from torchvision.transforms.v2 import functional as v2

from mae_bench.kit.blur import blur
from mae_bench.kit.colour import DRAWS, Colours, recolour
from mae_bench.kit.decode import to_image, to_pixels
from mae_bench.kit.images import crops_view

NOTHING = Colours((0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0)
EVERYTHING = Colours((0.4, 0.4, 0.2, 0.1), 0.8, 0.2, 0.5, 0.2)
ORDER = 5


def photos(number=8, side=64):
    view = crops_view(side, (0.2, 1.0), number // 4)
    images = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    found = [view(to_pixels(Image.fromarray(image)), random.Random(0)) for image in images]
    return torch.cat(found)


def uniform(rows, seed=0):
    return torch.rand(rows, DRAWS, generator=torch.Generator().manual_seed(seed))


def only(**changes):
    return Colours(**{**vars(NOTHING), **changes})


def jitter(*most):
    return only(jitter=tuple(map(float, most)), jitter_probability=1.0)


def levels_apart(ours, theirs):
    return (ours.int() - theirs.int()).abs()


def image_by_image(function, images, factors):
    pairs = zip(images, factors.tolist(), strict=True)
    return torch.stack([function(image, factor) for image, factor in pairs])


@pytest.mark.parametrize(
    ("at", "function"),
    [(0, v2.adjust_brightness), (1, v2.adjust_contrast), (2, v2.adjust_saturation)],
)
def test_one_kind_of_jitter_is_torchvisions_with_the_factor_drawn(at, function):
    images, draws = photos(), uniform(8)
    most = [0.6 if i == at else 0.0 for i in range(4)]
    apart = levels_apart(
        recolour(images, draws, jitter(*most)),
        image_by_image(function, images, 0.4 + 1.2 * draws[:, 1 + at]),
    )
    assert apart.max() <= 1
    assert apart.float().mean() < 0.2


def test_hue_is_torchvisions_with_the_turn_drawn():
    images, draws = photos(), uniform(8)
    theirs = image_by_image(v2.adjust_hue, images, draws[:, 4] - 0.5)
    apart = levels_apart(recolour(images, draws, jitter(0, 0, 0, 0.5)), theirs)
    assert apart.max() <= 1
    assert apart.float().mean() < 0.2


def in_turn(functions, image, row, order):
    """Return the image after four changes by the factors of its draws."""
    factors = (0.6 + 0.8 * row[1], 0.6 + 0.8 * row[2], 0.8 + 0.4 * row[3], 0.2 * row[4] - 0.1)
    for step in order:
        image = functions[step](image, factors[step])
    return image


def test_all_24_orders_of_jitter_are_nearer_to_torchvision_than_pillow_is():
    names = ("brightness", "contrast", "saturation", "hue")
    tensors = [getattr(v2, f"adjust_{name}") for name in names]
    pictures = [getattr(classic, f"adjust_{name}") for name in names]
    images, draws = photos(24), uniform(24)
    draws[:, ORDER] = (torch.arange(24) + 0.5) / 24
    ours = recolour(images, draws, jitter(0.4, 0.4, 0.2, 0.1))
    rows = list(zip(images, draws.tolist(), permutations(range(4)), strict=True))
    theirs = torch.stack([in_turn(tensors, *row) for row in rows])
    pillows = [in_turn(pictures, to_image(row[0]), *row[1:]) for row in rows]
    apart = levels_apart(ours, theirs).float()
    usual = levels_apart(torch.stack([to_pixels(image) for image in pillows]), theirs).float()
    # Each change rounds within one level; those after it multiply that by up to 1.4.
    assert apart.flatten(1).mean(1).max() < 0.5
    assert apart.mean() < 0.5 * usual.mean()
    assert (apart > 2).float().mean() < 0.005
    assert (apart > 2).float().mean() < 0.1 * (usual > 2).float().mean()


def test_the_largest_number_below_1_is_the_last_order():
    draws = torch.full((1, DRAWS), 1 - 2.0**-24)
    assert recolour(photos(4)[:1], draws, jitter(0.4, 0.4, 0.2, 0.1)).shape == (1, 3, 64, 64)


def test_factors_never_fall_below_0():
    images, draws = photos(4), torch.zeros(4, DRAWS)
    assert recolour(images, draws, jitter(1.5, 0, 0, 0)).max() == 0


def test_grey_is_pillows():
    images = photos()
    ours = recolour(images, uniform(8), only(grey_probability=1.0))
    for image, grey in zip(images, ours, strict=True):
        assert torch.equal(grey, to_pixels(to_image(image).convert("L").convert("RGB")))


def test_a_grey_image_keeps_its_pixels_when_saturation_and_hue_change():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(3, 3, 16, 16)
    colours = Colours((0.0, 0.0, 0.9, 0.5), 1.0, 0.5, 0.0, 0.0)
    assert torch.allclose(recolour(levels, uniform(3), colours).int(), levels.int(), atol=1)


def test_hue_turned_by_a_third_exchanges_the_colours():
    draws = torch.zeros(8, DRAWS)
    draws[:, 4] = 0.5 + 1 / 3  # a turn of 1/3
    images = photos()
    turned = recolour(images, draws, jitter(0, 0, 0, 0.5))
    assert levels_apart(turned, images.roll(1, dims=1)).max() <= 1


def test_contrast_of_nothing_is_the_mean_grey():
    images, draws = photos(), torch.zeros(8, DRAWS)
    flat = recolour(images, draws, jitter(0, 1.0, 0, 0))
    means = torch.stack([v2.rgb_to_grayscale(image).float().mean() for image in images])
    assert (flat - means.view(8, 1, 1, 1)).abs().max() <= 1
    assert flat.flatten(1).float().std(1).max() == 0


@pytest.mark.parametrize(("side", "kernel"), [(224, 23), (64, 7)])
def test_blur_is_torchvisions_with_byols_kernel(side, kernel):
    images, draws = photos(4, side), uniform(4)
    ours = recolour(images, draws, only(blur_probability=1.0))
    sigmas = (0.1 + 1.9 * draws[:, 8]) * side / 224
    theirs = image_by_image(
        lambda image, sigma: v2.gaussian_blur(image, [kernel] * 2, [sigma] * 2), images, sigmas
    )
    apart = levels_apart(ours, theirs)
    assert apart.max() <= 1
    assert apart.float().mean() < 0.1


def test_blur_of_a_point_is_the_product_of_two_gaussians():
    point = torch.zeros(1, 3, 33, 33, dtype=torch.uint8)
    point[:, :, 16, 16] = 255
    gaussian = torch.exp(-0.5 * ((torch.arange(33.0) - 16) / 1.0) ** 2)
    exact = 255 * torch.outer(gaussian, gaussian) / gaussian.sum() ** 2
    assert (blur(point, torch.ones(1))[0, 0] - exact).abs().max() <= 1


@pytest.mark.parametrize("side", [2, 8, 224])
def test_blur_keeps_an_even_image_at_any_size(side):
    even = torch.full((3, 3, side, side), 201, dtype=torch.uint8)
    assert torch.equal(blur(even, torch.tensor([0.1, 1.0, 2.0])), even)


def test_blur_is_the_same_in_half_precision():
    images, sigmas = photos(), torch.linspace(0.1, 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = blur(images, sigmas)
    assert torch.equal(half, blur(images, sigmas))


def test_solarised_levels_are_pillows():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    ours = recolour(levels, uniform(1), only(solarize_probability=1.0))[0]
    assert torch.equal(ours, to_pixels(ImageOps.solarize(to_image(levels[0]), 128)))


def test_each_change_comes_as_often_as_its_probability():
    images, draws = photos(4, 8).repeat(1000, 1, 1, 1), uniform(4000)
    for name, field in (
        ("jitter", "jitter_probability"),
        ("grey", "grey_probability"),
        ("blur", "blur_probability"),
        ("solarize", "solarize_probability"),
    ):
        by = only(**{"jitter": (0.4,) * 3 + (0.1,), field: 0.3, "blur_sigma": (50.0, 60.0)})
        changed = (recolour(images, draws, by) != images).flatten(1).any(1).float().mean()
        assert 0.27 < changed < 0.33, name


@pytest.mark.parametrize("parts", [[1] * 24, [5, 19], [12, 12]])
def test_colours_are_the_same_to_the_bit_however_a_batch_is_divided(parts):
    images, draws = photos(24), uniform(24)
    whole = recolour(images, draws, EVERYTHING)
    pairs = zip(images.split(parts), draws.split(parts), strict=True)
    assert torch.equal(torch.cat([recolour(*pair, EVERYTHING) for pair in pairs]), whole)


def test_colours_are_the_same_to_the_bit_on_any_number_of_threads():
    images, draws = photos(8, 224), uniform(8)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(recolour(images, draws, EVERYTHING))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_images_given_stay_as_they_are():
    images = photos()
    before = images.clone()
    recolour(images, uniform(8), EVERYTHING)
    assert torch.equal(images, before)
