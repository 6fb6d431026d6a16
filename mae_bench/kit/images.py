"""From an image file to uint8 pixels of the size a ViT takes, and on the device to numbers."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from mae_bench.kit.spec import IMAGENET_MEAN, IMAGENET_STD

Box = tuple[int, int, int, int]
View = Callable[[Image.Image, random.Random], Image.Image]
"""Turns a decoded image into the square one to train on; random only through its argument."""


def read_image(path: Path | str) -> Image.Image:
    """Return the decoded RGB image; ValueError naming the file if it is none."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error


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


def train_view(
    side: int,
    scale: tuple[float, float],
    tries: Literal[1, 10] = 10,
    augment: Callable[[Image.Image], Image.Image] | None = None,
) -> View:
    """Return the view: random crop, bicubic resize to side pixels, flip, then `augment`."""

    def view(image: Image.Image, rng: random.Random) -> Image.Image:
        box = crop_box(image.width, image.height, scale, rng, tries)
        image = image.crop(box).resize((side, side), Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image if augment is None else augment(image)

    return view


def eval_view(side: int) -> View:
    """Return the test view: shorter side to side*256/224 (bicubic), then the centre crop."""

    def view(image: Image.Image, rng: random.Random) -> Image.Image:
        shorter = int(side * 256 / 224)
        ratio = shorter / min(image.size)
        size = (round(image.width * ratio), round(image.height * ratio))
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2)
        return image.crop((left, top, left + side, top + side))

    return view


def to_tensor(image: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """Return the pixels, channel first, as they are."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def normalize(
    images: UInt8[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return pixels as float with ImageNet's mean and deviation, on the images' device."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1) * 255
    return (images.float() - mean) / std
