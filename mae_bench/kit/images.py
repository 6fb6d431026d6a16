"""From decoded pixels to the square uint8 image a ViT takes, and on the device to numbers."""

import math
import random
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from mae_bench.kit.decode import Crops, Pixels, to_image, to_pixels
from mae_bench.kit.spec import IMAGENET_MEAN, IMAGENET_STD

Box = tuple[int, int, int, int]
View = Callable[[Pixels, random.Random], Pixels | Crops]
"""Turns decoded pixels into the square ones to train on; random only through its argument."""


def crop_box(
    width: int,
    height: int,
    scale: tuple[float, float],
    rng: random.Random,
    tries: Literal[1, 10] = 10,
) -> Box:
    """Return (left, top, right, bottom) of a random crop of aspect 3/4 to 4/3.

    Ten tries and then a centre crop is torchvision's RandomResizedCrop (Inception, Szegedy et al.
    2015); one try, cut to the image, is what MAE's linear probe uses.
    """
    for _ in range(tries):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if tries == 1:
            w, h = min(w, width), min(h, height)
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, top, left + w, top + h
    aspect = min(max(width / height, 3 / 4), 4 / 3)
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the pixels at another size: bicubic, antialiased, rows first, rounded to uint8.

    Within 3 grey levels of Pillow before version 13, which the field's results were made with;
    later ones shrink columns first where that is cheaper.
    """
    # Memory as the decoder leaves it, colours last: the kernel is half as fast on planes.
    batch = pixels[None].contiguous(memory_format=torch.channels_last)
    return interpolate(batch, (height, width), mode="bicubic", antialias=True)[0]


def train_view(
    side: int,
    scale: tuple[float, float],
    tries: Literal[1, 10] = 10,
    augment: Callable[[Image.Image], Image.Image] | None = None,
) -> View:
    """Return the view: random crop, bicubic resize to side pixels, flip, then `augment`."""

    def view(pixels: Pixels, rng: random.Random) -> Pixels:
        height, width = pixels.shape[1:]
        left, top, right, bottom = crop_box(width, height, scale, rng, tries)
        pixels = resize(pixels[:, top:bottom, left:right], side, side)
        if rng.random() < 0.5:
            pixels = pixels.flip(2)
        return pixels if augment is None else to_pixels(augment(to_image(pixels)))

    return view


def crops_view(side: int, scale: tuple[float, float], number: int) -> View:
    """Return the view of several crops of one image, each a random crop and flip of its own."""
    one = train_view(side, scale)

    def view(pixels: Pixels, rng: random.Random) -> Crops:
        return torch.stack([one(pixels, rng) for _ in range(number)])

    return view


def eval_view(side: int) -> View:
    """Return the test view: shorter side to side*256/224 (bicubic), then the centre crop."""

    def view(pixels: Pixels, rng: random.Random) -> Pixels:
        height, width = pixels.shape[1:]
        shorter, short = int(side * 256 / 224), min(height, width)
        pixels = resize(pixels, shorter * height // short, shorter * width // short)
        top = round((pixels.shape[1] - side) / 2)
        left = round((pixels.shape[2] - side) / 2)
        return pixels[:, top : top + side, left : left + side]

    return view


def normalize(
    images: UInt8[Tensor, "batch 3 height width"],
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Float[Tensor, "batch 3 height width"]:
    """Return pixels of [0, 255] as floats less the mean over the deviation, both of [0, 1]."""
    means, deviations = (
        (torch.tensor(values).view(3, 1, 1) * 255).to(images.device, non_blocking=True)
        for values in (mean, std)  # made on the CPU: a tensor made on a GPU waits for it
    )
    return (images.float() - means) / deviations
