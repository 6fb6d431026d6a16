import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import data
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, RandomResizedCrop, Resize

from mae_bench.kit.images import crop_box, eval_view, normalize, read_image, to_tensor, train_view


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


def test_the_test_view_is_resize_256_and_centre_crop_224():
    image = Image.fromarray(data.astronaut())
    reference = Compose([Resize(256, InterpolationMode.BICUBIC), CenterCrop(224)])
    ours = eval_view(224)(image, random.Random(0))
    assert np.array_equal(np.array(ours), np.array(reference(image)))


def test_the_train_view_depends_on_its_generator_alone():
    image = Image.fromarray(data.coffee())
    view = train_view(64, (0.2, 1.0))
    first, again, other = (np.array(view(image, random.Random(s))) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (64, 64, 3)


def test_normalised_pixels_have_imagenets_statistics():
    image = torch.tensor([255 * 0.485, 255 * 0.456, 255 * 0.406]).round().to(torch.uint8)
    out = normalize(image.view(1, 3, 1, 1))
    assert out.abs().max() < 0.01
    white = normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)).flatten()
    torch.testing.assert_close(white, torch.tensor([2.2489, 2.4286, 2.6400]), atol=1e-3, rtol=0)


def test_a_broken_image_is_named(tmp_path):
    path = tmp_path / "broken.JPEG"
    path.write_bytes(b"\xff\xd8\xff no jpeg")
    with pytest.raises(ValueError, match=r"broken\.JPEG is not a readable image"):
        read_image(path)


def test_grey_and_palette_images_become_rgb(tmp_path):
    for mode in ("L", "P", "CMYK", "RGBA"):
        path = tmp_path / f"{mode}.{'jpg' if mode in ('L', 'CMYK') else 'png'}"
        Image.new(mode, (8, 6)).save(path)
        assert to_tensor(read_image(path)).shape == (3, 6, 8)
