"""Procedural scenes: textured shapes and stuff regions on real photographs, with exact masks."""

from dataclasses import dataclass

import numpy as np

from mae_bench.kit.scene_textures import (
    PHOTOS,
    Pixels,
    Split,
    hsv_to_rgb,
    pattern,
    photo_crop,
)

THINGS = ("ball", "box", "tent", "star", "ring", "cross", "cell", "moon")
"""The eight object classes; a class is a shape with its usual hue and pattern."""
STUFF = ("sky", "grass", "wall", "gravel")
"""Regions that only segmentation labels."""
STUFF_PHOTO = {"grass": "grass.png", "wall": "brick.png", "gravel": "gravel.png"}
STUFF_COLOUR = {
    "sky": (0.60, 0.45, 0.95),
    "grass": (0.28, 0.60, 0.75),
    "wall": (0.03, 0.50, 0.80),
    "gravel": (0.10, 0.12, 0.85),
}
"""Mean hue, saturation and value."""
HUE_SPREAD = 0.08
"""Standard deviation of an object's hue; neighbouring classes are 1/8 apart."""
ODD_PATTERN = 0.2
"""Share of objects that wear another class's pattern."""
SMALLEST = 12
"""Visible pixels below which an object is taken out of the scene."""


@dataclass(frozen=True)
class Thing:
    """One object: where it stands and how it looks. Lengths are shares of the scene's side."""

    label: int
    x: float
    y: float
    radius: float
    angle: float
    aspect: float
    softness: float
    pattern: int
    frequency: float
    light: tuple[float, float, float]
    dark: tuple[float, float, float]
    crowd: bool = False


@dataclass(frozen=True)
class Scene:
    """A rendered scene. Masks hold what is visible; a crowd's members are one mask."""

    pixels: np.ndarray
    """uint8 [side, side, 3]."""
    labels: tuple[int, ...]
    """Class of each mask, an index into THINGS."""
    masks: np.ndarray
    """bool [objects, side, side], disjoint."""
    crowds: tuple[bool, ...]
    stuff: np.ndarray
    """uint8 [side, side]: 0 none, else 1 + index into STUFF; objects not cut out."""


def portrait(split: Split, side: int, label: int, rng: np.random.Generator) -> Scene:
    """Return a scene with one main object of the class, for classification."""
    main = _thing(label, rng, radius=(0.22, 0.42), centre=(0.35, 0.65))
    return _render(split, side, [main], rng)


def landscape(split: Split, side: int, rng: np.random.Generator) -> Scene:
    """Return a scene with one to four objects, now and then a crowd, for dense tasks."""
    things = []
    if rng.random() < 0.06:
        things += _crowd(int(rng.integers(len(THINGS))), rng)
    for _ in range(int(rng.integers(1, 5))):
        label = int(rng.integers(len(THINGS)))
        things.append(_thing(label, rng, radius=(0.10, 0.27), centre=(0.14, 0.86)))
    scene = _render(split, side, things, rng)
    return scene if any(not crowd for crowd in scene.crowds) else landscape(split, side, rng)


def _thing(
    label: int,
    rng: np.random.Generator,
    radius: tuple[float, float],
    centre: tuple[float, float],
) -> Thing:
    """Return an object whose hue and pattern are its class's with noise."""
    hue = label / len(THINGS) + rng.normal(0, HUE_SPREAD)
    odd = rng.random() < ODD_PATTERN
    saturation, value = rng.uniform(0.35, 0.95), rng.uniform(0.55, 1.0)
    contrast = rng.uniform(0.25, 0.75)
    light = hsv_to_rgb(hue, saturation, value)
    dark = hsv_to_rgb(hue + rng.normal(0, 0.04), saturation, value * (1 - contrast))
    return Thing(
        label=label,
        x=rng.uniform(*centre),
        y=rng.uniform(*centre),
        radius=rng.uniform(*radius),
        angle=rng.uniform(0, 2 * np.pi),
        aspect=rng.uniform(0.75, 1.33),
        softness=rng.uniform(0.6, 2.0),
        pattern=int(rng.integers(len(THINGS))) if odd else label,
        frequency=rng.uniform(2.0, 4.5),
        light=tuple(light.tolist()),
        dark=tuple(dark.tolist()),
    )


def _crowd(label: int, rng: np.random.Generator) -> list[Thing]:
    """Return a cluster of small objects of one class, to be annotated as one region."""
    x, y = rng.uniform(0.3, 0.7, 2)
    members = []
    for dx, dy in rng.normal(0, 0.12, (12, 2)):
        one = _thing(label, rng, radius=(0.04, 0.07), centre=(0.0, 1.0))
        members.append(Thing(**{**vars(one), "x": x + dx, "y": y + dy, "crowd": True}))
    return members


def _render(split: Split, side: int, things: list[Thing], rng: np.random.Generator) -> Scene:
    """Return the scene painted back to front."""
    canvas = photo_crop(PHOTOS[int(rng.integers(len(PHOTOS)))], split, side, rng)
    canvas, stuff = _paint_stuff(canvas, split, rng)
    owner = np.full((side, side), -1)
    for i, thing in enumerate(things):
        alpha, colour = _paint(thing, side)
        canvas = canvas * (1 - alpha[..., None]) + colour * alpha[..., None]
        owner[alpha > 0.5] = i
    canvas += rng.normal(0, 0.02, canvas.shape)
    labels, masks, crowds = _visible(things, owner)
    pixels = (np.clip(canvas, 0, 1) * 255).round().astype(np.uint8)
    return Scene(pixels, labels, masks, crowds, stuff)


def _visible(
    things: list[Thing], owner: np.ndarray
) -> tuple[tuple[int, ...], np.ndarray, tuple[bool, ...]]:
    """Return label, mask and crowd flag of what is large enough to be seen."""
    found: list[tuple[int, np.ndarray, bool]] = []
    crowd = [i for i, thing in enumerate(things) if thing.crowd]
    if crowd:
        found.append((things[crowd[0]].label, np.isin(owner, crowd), True))
    for i, thing in enumerate(things):
        if not thing.crowd:
            found.append((thing.label, owner == i, False))
    kept = [one for one in found if one[1].sum() >= SMALLEST]
    masks = np.array([mask for _, mask, _ in kept]).reshape(-1, *owner.shape)
    return tuple(label for label, _, _ in kept), masks, tuple(crowd for _, _, crowd in kept)


def _paint(thing: Thing, side: int) -> tuple[np.ndarray, Pixels]:
    """Return the object's coverage [side, side] in [0, 1] and its colour at every pixel."""
    centre = (np.arange(side) + 0.5) / side
    dx, dy = np.meshgrid(centre - thing.x, centre - thing.y)
    cos, sin = np.cos(thing.angle), np.sin(thing.angle)
    stretch = np.sqrt(thing.aspect)
    u = (cos * dx + sin * dy) / (thing.radius * stretch)
    v = (cos * dy - sin * dx) / (thing.radius / stretch)
    pixel = thing.softness / (thing.radius * side)
    alpha = np.clip(0.5 - _distance(thing.label, u, v) / pixel, 0, 1)
    mix = pattern(thing.pattern, u, v, thing.frequency)[..., None]
    shade = (1.0 - 0.25 * (u + v) / 2)[..., None]
    colour = (np.array(thing.dark) * mix + np.array(thing.light) * (1 - mix)) * shade
    return alpha, np.clip(colour, 0, 1)


def _distance(label: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return roughly the signed distance to the class's outline, negative inside."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)

    def regular(sides: int) -> np.ndarray:
        sector = 2 * np.pi / sides
        return radius * np.cos((angle + sector / 2) % sector - sector / 2)

    shapes = {
        "ball": lambda: radius - 0.9,
        "box": lambda: np.maximum(np.abs(u), np.abs(v)) - 0.78,
        "tent": lambda: regular(3) - 0.55,
        "star": lambda: radius - 0.66 - 0.32 * np.cos(5 * angle),
        "ring": lambda: np.abs(radius - 0.7) - 0.24,
        "cross": lambda: np.minimum(
            np.maximum(np.abs(u) - 0.95, np.abs(v) - 0.32),
            np.maximum(np.abs(v) - 0.95, np.abs(u) - 0.32),
        ),
        "cell": lambda: regular(6) - 0.82,
        "moon": lambda: np.maximum(radius - 0.95, 0.75 - np.hypot(u - 0.5, v)),
    }
    return np.asarray(shapes[THINGS[label]]())


def _paint_stuff(
    canvas: Pixels, split: Split, rng: np.random.Generator
) -> tuple[Pixels, np.ndarray]:
    """Return the canvas with a region above and one below wavy lines, each with some chance."""
    side = len(canvas)
    x, y = np.meshgrid(np.arange(side) / side, np.arange(side) / side)
    label = np.zeros((side, side), np.uint8)
    choices = (("sky", "wall"), ("grass", "gravel"))
    for pair, above in zip(choices, (True, False), strict=True):
        name = pair[int(rng.integers(2))]
        level = rng.uniform(0.15, 0.45) if above else rng.uniform(0.55, 0.85)
        line = level + 0.05 * np.sin(rng.uniform(3, 9) * x + rng.uniform(0, 6))
        mask = (y < line) if above else (y > line)
        colour = _stuff(name, split, side, rng)
        if rng.random() < 0.75:
            canvas = np.where(mask[..., None], colour, canvas)
            label[mask] = 1 + STUFF.index(name)
    return canvas, label


def _stuff(name: str, split: Split, side: int, rng: np.random.Generator) -> Pixels:
    """Return a square of that stuff: a tinted texture photograph, or a sky."""
    hue, saturation, value = STUFF_COLOUR[name]
    spread = rng.normal(0, (0.03, 0.08, 0.08))
    colour = hsv_to_rgb(
        hue + spread[0],
        float(np.clip(saturation + spread[1], 0, 1)),
        float(np.clip(value + spread[2], 0.3, 1)),
    )
    if name == "sky":
        fade = np.linspace(0.0, rng.uniform(0.2, 0.6), side, dtype=np.float32)[:, None, None]
        return colour * (1 - fade) + fade
    grey = photo_crop(STUFF_PHOTO[name], split, side, rng).mean(axis=2, keepdims=True)
    return np.asarray(np.clip(grey / grey.mean(), 0, 1.6) * colour, np.float32)
