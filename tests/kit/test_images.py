import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import data
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, RandomResizedCrop, Resize

from mae_bench.kit.decode import to_pixels
from mae_bench.kit.images import crop_box, eval_view, normalize, resize, train_view


def test_crop_boxes_have_torchvisions_distribution():
    rng = random.Random(0)
    ours = np.array([crop_box(120, 80, (0.08, 1.0), rng) for _ in range(4000)])
    image = torch.zeros(3, 80, 120)
    torch.manual_seed(0)
    params = [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    top, left, height, width = np.array(params).T
    for mine, theirs in (
        (ours[:, 0], left),
        (ours[:, 1], top),
        (ours[:, 2] - ours[:, 0], width),
        (ours[:, 3] - ours[:, 1], height),
    ):
        assert stats.ks_2samp(mine, theirs).pvalue > 1e-3


def test_a_single_draw_is_cut_to_the_image():
    rng = random.Random(0)
    boxes = [crop_box(200, 20, (0.9, 1.0), rng, tries=1) for _ in range(100)]
    assert all(0 <= a < c <= 200 and 0 <= b < d <= 20 for a, b, c, d in boxes)
    assert any(d - b == 20 and c - a < 200 for a, b, c, d in boxes)


PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")


def pillow_rows_first(image, height, width):
    """Return Pillow's bicubic resize in the pass order of all versions before 13."""
    rows = image.resize((width, image.height), Image.Resampling.BICUBIC)
    return rows.resize((width, height), Image.Resampling.BICUBIC)


def levels_apart(pixels, image):
    return int((pixels.int() - to_pixels(image).int()).abs().max())


@pytest.mark.parametrize("name", PHOTOS)
def test_resizing_agrees_with_pillow_within_3_grey_levels(name):
    image = Image.fromarray(getattr(data, name)())
    rng = random.Random(0)
    apart = []
    for _ in range(30):
        box = crop_box(image.width, image.height, (0.08, 1.0), rng)
        crop = image.crop(box)
        apart.append(
            levels_apart(resize(to_pixels(crop), 224, 224), pillow_rows_first(crop, 224, 224))
        )
    assert max(apart) <= 3
    assert np.mean(apart) < 2


@pytest.mark.parametrize("name", PHOTOS)
def test_the_test_view_is_resize_256_and_centre_crop_224(name):
    image = Image.fromarray(getattr(data, name)())
    reference = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])
    ours = eval_view(224)(to_pixels(image), random.Random(0))
    assert levels_apart(ours, reference(image)) <= 3


def test_the_train_view_depends_on_its_generator_alone():
    pixels = to_pixels(Image.fromarray(data.coffee()))
    view = train_view(64, (0.2, 1.0))
    first, again, other = (view(pixels, random.Random(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (3, 64, 64)


def test_half_of_the_views_are_flipped():
    pixels = torch.arange(8, dtype=torch.uint8).repeat(3, 8, 1) * 30
    view = train_view(8, (0.5, 1.0))
    rising = [
        bool(view(pixels, random.Random(s))[0, 0].float().diff().mean() > 0) for s in range(400)
    ]
    assert 160 < sum(rising) < 240


def test_normalised_pixels_have_imagenets_statistics():
    image = torch.tensor([255 * 0.485, 255 * 0.456, 255 * 0.406]).round().to(torch.uint8)
    out = normalize(image.view(1, 3, 1, 1))
    assert out.abs().max() < 0.01
    white = normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)
