"""Objects drawn over their image: tinted masks, boxes, and class names where there is room."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from transfer.figure_colours import colour, ink
from transfer.figure_sheet import Size, font, shortened

TINT = 0.42
"""Opacity of a mask."""
LETTERS = 12
"""Pixels of a class name."""
NAMED = 0.2
"""Part of the picture that names may cover."""
DASH = (6, 4)
"""Pixels drawn and left out along the box of what is wrong or missed."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class Object:
    """One object, true or detected; of several the first is named first."""

    index: int
    """Class index, which gives the colour."""
    name: str
    """Of the class; cut where it is long."""
    score: str
    """Written after the name; empty for what is true."""
    box: Box
    """In pixels of the image."""
    mask: np.ndarray | None
    """Bool [height, width] of the image; None if there are boxes only."""
    matched: bool
    """Whether truth and prediction agree on it: a full line, else a dashed one."""


def draw_objects(image: Image.Image, objects: Sequence[Object], size: Size) -> Image.Image:
    """Return the image at that size with the objects drawn over it, small ones over large."""
    picture = image.resize(size, Image.Resampling.LANCZOS)
    large_first = sorted(objects, key=lambda one: -_area(one.box))
    for one in large_first:
        if one.mask is not None:
            _tint(picture, one.mask, colour(one.index))
    pen = ImageDraw.Draw(picture)
    scale = (size[0] / image.width, size[1] / image.height)
    for one in large_first:
        _outline(pen, _scaled(one.box, scale, size), colour(one.index), one.matched)
    taken: list[Box] = []
    for one in objects:
        if sum(map(_area, taken)) < NAMED * size[0] * size[1]:
            _name(pen, one, _scaled(one.box, scale, size), (size, taken))
    return picture


def _area(box: Box) -> float:
    """Return width times height."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _tint(picture: Image.Image, mask: np.ndarray, tone: tuple[int, int, int]) -> None:
    """Tint the mask's pixels, and draw its edge in the full colour."""
    whole = Image.fromarray(mask.astype(np.uint8) * 255)
    bounds = whole.getbbox()
    if bounds is None:
        return
    scale = np.divide(picture.size, whole.size)
    first = np.maximum(np.floor(bounds[:2] * scale) - 2, 0).astype(int)
    last = np.minimum(np.ceil(bounds[2:] * scale) + 2, picture.size).astype(int)
    source = (*(first / scale), *np.minimum(last / scale, whole.size))
    method = Image.Resampling.BICUBIC if scale[0] > 1 else Image.Resampling.BOX
    width, height = last - first
    area = whole.resize((int(width), int(height)), method, box=source)
    area = area.point(lambda value: min(max(4 * (value - 128) + 128, 0), 255))  # a sharper edge
    edge = ImageChops.subtract(area, area.filter(ImageFilter.MinFilter(3)))
    corner = (int(first[0]), int(first[1]))
    place = (*corner, corner[0] + area.width, corner[1] + area.height)
    picture.paste(tone, place, area.point(lambda value: int(TINT * value)))
    picture.paste(tone, place, edge)


def _scaled(box: Box, scale: tuple[float, float], size: Size) -> Box:
    """Return the box in whole pixels of the panel, inside it and at least 3 wide and high."""
    left, top = round(box[0] * scale[0]), round(box[1] * scale[1])
    right, bottom = round(box[2] * scale[0]) - 1, round(box[3] * scale[1]) - 1
    left, top = (min(max(a, 0), side - 4) for a, side in ((left, size[0]), (top, size[1])))
    right = min(max(right, left + 3), size[0] - 1)
    return (left, top, right, min(max(bottom, top + 3), size[1] - 1))


def _outline(pen: ImageDraw.ImageDraw, box: Box, tone: tuple[int, int, int], whole: bool) -> None:
    """Draw the box two pixels wide in its colour, on a dark line that shows on any image."""
    left, top, right, bottom = box
    pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(20, 20, 20))
    if whole:
        pen.rectangle(box, outline=tone, width=2)
        return
    pen.rectangle(box, outline=(20, 20, 20), width=2)
    step = sum(DASH)
    for x in np.arange(left, right, step):
        end = min(x + DASH[0] - 1, right)
        pen.rectangle((x, top, end, top + 1), tone)
        pen.rectangle((x, bottom - 1, end, bottom), tone)
    for y in np.arange(top, bottom, step):
        end = min(y + DASH[0] - 1, bottom)
        pen.rectangle((left, y, left + 1, end), tone)
        pen.rectangle((right - 1, y, right, end), tone)


def _name(pen: ImageDraw.ImageDraw, one: Object, box: Box, room: tuple[Size, list[Box]]) -> None:
    """Write the object's text at its box, unless every place there is taken."""
    size, taken = room
    score = f" {one.score}" if one.score else ""
    most = min(size[0] - 6, max(0.5 * size[0], 120)) - font(LETTERS).getlength(score)
    text = shortened(one.name, LETTERS, most) + score
    width, height = int(font(LETTERS).getlength(text)) + 5, LETTERS + 4
    for left, top in _places(box, width, height):
        x = min(max(left, 0), max(0, size[0] - width))
        strip = (x, top, x + width - 1, top + height - 1)
        if top >= 0 and strip[3] < size[1] and not any(_overlap(strip, other) for other in taken):
            tone = colour(one.index)
            pen.rectangle(strip, tone)
            pen.text((x + 2, top), text, ink(tone), font(LETTERS))
            taken.append(strip)
            return


def _places(box: Box, width: int, height: int) -> Iterator[tuple[float, float]]:
    """Yield where a strip may go: above the box, inside it at the top, below, inside below."""
    left, top, right, bottom = box
    for x in (left, right - width + 1):
        yield x, top - height
        yield x, top + 2
    for x in (left, right - width + 1):
        yield x, bottom + 1
        yield x, bottom - height - 1


def _overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes share a pixel."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
