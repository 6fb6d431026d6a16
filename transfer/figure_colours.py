"""A colour for every class: stable, and told apart by people with and without colour vision."""

from functools import cache

import numpy as np

Colour = tuple[int, int, int]

COUNT = 256
"""Different colours; class 256 has that of class 0."""
FIRST = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (213, 94, 0), (0, 114, 178), (204, 121, 167))
"""Okabe and Ito's colours for all kinds of colour vision, without black and the palest."""
STEPS = 18
"""Levels of each channel among which the other colours are chosen."""
DEUTERANOPIA = ((0.3673, 0.8606, -0.2280), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689))
"""Linear RGB as seen without green cones; Machado et al. 2009, severity 1."""


def colour(index: int) -> Colour:
    """Return the colour of a class index, the same in every picture of every job."""
    red, green, blue = palette()[index % COUNT]
    return int(red), int(green), int(blue)


def ink(background: Colour) -> Colour:
    """Return black or white, whichever is read better on that colour."""
    return (0, 0, 0) if oklab(np.array([background]))[0, 0] > 0.62 else (255, 255, 255)


@cache
def palette() -> np.ndarray:
    """Return COUNT colours uint8 [colour, channel]: each the farthest from all before it.

    Far means in OKLab, with and without green cones, whichever is nearer; dark, white and grey
    ones are left to outlines and ignored pixels.
    """
    grid = np.linspace(0, 255, STEPS).round()
    choices = np.stack(np.meshgrid(grid, grid, grid, indexing="ij"), -1).reshape(-1, 3)
    seen = oklab(choices)
    vivid = np.hypot(seen[:, 1], seen[:, 2]) > 0.05
    choices = choices[vivid & (seen[:, 0] > 0.5) & (seen[:, 0] < 0.93)]
    spaces = (oklab(choices), oklab(choices, DEUTERANOPIA))
    chosen = [np.array(one, float) for one in FIRST]
    nearest = np.full(len(choices), np.inf)
    for count in range(COUNT):
        if count >= len(chosen):
            chosen.append(choices[int(nearest.argmax())])
        newest = chosen[count][None]
        far = [spaces[0] - oklab(newest), 1.5 * (spaces[1] - oklab(newest, DEUTERANOPIA))]
        nearest = np.minimum(nearest, np.minimum(*(np.linalg.norm(d, axis=1) for d in far)))
    return np.array(chosen).astype(np.uint8)


def oklab(rgb: np.ndarray, vision: tuple[tuple[float, ...], ...] | None = None) -> np.ndarray:
    """Return sRGB 0 to 255 [n, 3] as lightness and two opponent axes (Ottosson 2020).

    `vision` changes the linear colours first.
    """
    values = rgb / 255.0
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    if vision is not None:
        linear = np.clip(linear @ np.array(vision).T, 0, 1)
    to_cones = (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
    to_lab = (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
    return np.asarray(np.cbrt(linear @ np.array(to_cones).T) @ np.array(to_lab).T)
