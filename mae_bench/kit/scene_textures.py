"""What scenes are made of: crops of real photographs, and procedural textures."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import skimage
import sklearn
from PIL import Image

Split = Literal["train", "val"]
Pixels = np.ndarray
"""float32 [height, width, 3] in [0, 1]."""

PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "china.jpg",
    "coffee.png",
    "flower.jpg",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "rocket.jpg",
)
"""Colour photographs that scikit-image and scikit-learn carry; they become backgrounds."""
TRAIN_SHARE = 0.6
"""Training scenes see this left share of a photograph, validation scenes the rest."""


@cache
def photo(name: str) -> Pixels:
    """Return a shipped photograph as RGB."""
    folders = (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets")
    path = next(p for f in folders for p in (f / name, f / "images" / name) if p.is_file())
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float32) / 255


def region(name: str, split: Split) -> tuple[int, int]:
    """Return the first and the end column of the photograph that the split may use."""
    width = photo(name).shape[1]
    border = int(width * TRAIN_SHARE)
    return (0, border) if split == "train" else (border, width)


def photo_crop(name: str, split: Split, side: int, rng: np.random.Generator) -> Pixels:
    """Return a random square of the split's region, scaled to side x side pixels."""
    start, end = region(name, split)
    pixels = photo(name)[:, start:end]
    largest = min(pixels.shape[:2])
    crop = int(rng.uniform(min(0.4, side / largest) * largest, largest))
    top = int(rng.integers(0, pixels.shape[0] - crop + 1))
    left = int(rng.integers(0, pixels.shape[1] - crop + 1))
    square = pixels[top : top + crop, left : left + crop]
    image = Image.fromarray((square * 255).astype(np.uint8))
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32) / 255


def pattern(kind: int, u: np.ndarray, v: np.ndarray, frequency: float) -> np.ndarray:
    """Return one of eight patterns in [0, 1] over coordinates in which the shape spans [-1, 1]."""
    turn = np.pi * frequency
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    row = np.floor(v * frequency)
    waves = (
        lambda: np.sin(turn * radius),
        lambda: np.sin(turn * u) * np.sin(turn * v) * 4,
        lambda: np.sin(turn * v),
        lambda: (np.cos(turn * u) + np.cos(turn * v) - 0.7) * 2,
        lambda: np.sin(angle * np.ceil(frequency * 1.5)),
        lambda: np.sin(turn * 0.7 * (u + v)),
        lambda: (
            np.minimum(
                np.abs(np.sin(turn / 2 * (u + row % 2 / frequency))), np.abs(np.sin(turn * v))
            )
            * 6
            - 2
        ),
        lambda: np.sin(turn * (v + 0.25 * np.sin(turn * 0.6 * u))),
    )
    return np.clip(0.5 + 0.8 * waves[kind](), 0, 1)


def hsv_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Return an RGB colour [3] in [0, 1]; the hue is cyclic."""
    offset = (np.array([5.0, 3.0, 1.0]) + (hue % 1.0) * 6) % 6
    ramp = np.clip(np.minimum(offset, 4 - offset), 0, 1)
    return (value - value * saturation * ramp).astype(np.float32)
