"""Label maps drawn for people: a colour a class, dark borders, and names where there is room."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from transfer.figure_colours import COUNT, colour, ink, palette
from transfer.figure_sheet import Size, font, shortened

IGNORED = 255
"""Label of pixels that are not counted."""
LETTERS = 12


def draw_regions(labels: np.ndarray, names: Sequence[str], size: Size) -> Image.Image:
    """Return a map of class indices [height, width] in colours at that size."""
    classes_in(labels, len(names))
    small = np.asarray(
        Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    )
    pixels = palette()[small % COUNT]
    rows, columns = np.indices(small.shape)
    hatch = np.where((rows + columns) % 8 < 2, 150, 225).astype(np.uint8)
    pixels = np.where((small == IGNORED)[..., None], hatch[..., None], pixels)
    pixels[_borders(small)] = (35, 35, 35)
    picture = Image.fromarray(pixels)
    pen = ImageDraw.Draw(picture)
    for index in np.unique(small):
        if index != IGNORED:
            _name(pen, small == index, int(index), names[int(index)])
    return picture


def classes_in(labels: np.ndarray, count: int) -> list[int]:
    """Return the classes that occur in a label map; ValueError for one that is none of `count`."""
    seen = [int(label) for label in np.unique(labels) if label != IGNORED]
    for label in seen:
        if not 0 <= label < count:
            raise ValueError(f"a label is {label}; it must be 0 to {count - 1}, or {IGNORED}")
    return seen


def _borders(labels: np.ndarray) -> np.ndarray:
    """Return bool [height, width]: pixels whose right or lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def _name(pen: ImageDraw.ImageDraw, area: np.ndarray, index: int, name: str) -> None:
    """Write the class's name in the middle of its widest part, if it fits there."""
    text = shortened(name, LETTERS, 120)
    width, height = int(font(LETTERS).getlength(text)) + 10, LETTERS + 6
    spot = _room(area, width, height)
    if spot is not None:
        tone = colour(index)
        x, y = spot
        pen.text((x + 5, y + 2), text, ink(tone), font(LETTERS))


def _room(area: np.ndarray, width: int, height: int) -> tuple[int, int] | None:
    """Return left and top of a box that lies in the area, near its middle; None if none does."""
    if area.shape[0] < height or area.shape[1] < width:
        return None
    sums = np.zeros((area.shape[0] + 1, area.shape[1] + 1), np.int64)
    sums[1:, 1:] = area.cumsum(axis=0).cumsum(axis=1)
    inside = (
        sums[height:, width:]
        - sums[:-height, width:]
        - sums[height:, :-width]
        + sums[:-height, :-width]
    )
    tops, lefts = np.nonzero(inside == width * height)
    if not tops.size:
        return None
    rows, columns = np.nonzero(area)
    far = (tops + height / 2 - rows.mean()) ** 2 + (lefts + width / 2 - columns.mean()) ** 2
    near = int(far.argmin())
    return int(lefts[near]), int(tops[near])
