"""Sheets of pictures: rows that fill the width, a caption over each picture, a legend below."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from transfer.figure_colours import colour

MARGIN, WIDTH = 10, 1180
"""Pixels: together about what a page on GitHub shows at full size."""
GAP, BETWEEN, CAPTION = 4, 14, 22
"""Pixels between the panels of an exhibit, between exhibits, and over each panel."""
ASPECTS = (0.55, 3.0)
"""Narrower and wider images get a grey border."""
BACKGROUND, TEXT, SOFT, BORDER = (255, 255, 255), (30, 30, 30), (105, 105, 105), (228, 228, 228)

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Exhibit:
    """One image of the data set in several panels, such as truth and prediction."""

    size: Size
    """Of the image."""
    captions: tuple[str, ...]
    """One a panel."""
    paint: Callable[[Size], Sequence[Image.Image]]
    """Returns the panels at about the given size, of the image's aspect."""


@dataclass(frozen=True)
class Heading:
    """What stands over a sheet, a line each."""

    title: str
    rule: str
    """How the pictures are to be read."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings along, so that all machines draw the same."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def shortened(text: str, size: int, width: float) -> str:
    """Return the text, cut in the middle if it is wider than `width` pixels at that font size."""
    keep = len(text)
    cut = text
    while keep > 1 and font(size).getlength(cut) > width:
        keep -= 1
        cut = text[: (keep + 1) // 2] + "…" + text[len(text) - keep // 2 :]
    return cut


def begun(text: str, size: int, width: float) -> str:
    """Return the text, cut at the end if it is wider than `width` pixels at that font size."""
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def sheet(
    heading: Heading,
    exhibits: Sequence[Exhibit],
    height: int,
    legend: Sequence[tuple[int, str]] = (),
) -> Image.Image:
    """Return the sheet; panels are about `height` pixels high, all of a row equally.

    `legend` is class indices with their names.
    """
    rows = [_painted(row, fit) for row, fit in _rows(exhibits, height)]
    bottom = [_legend(legend)] if legend else []
    parts = [_strip(heading), *rows, *bottom]
    size = (WIDTH + 2 * MARGIN, sum(part.height for part in parts) + 2 * MARGIN)
    whole = Image.new("RGB", size, BACKGROUND)
    top = MARGIN
    for part in parts:
        whole.paste(part, (MARGIN, top))
        top += part.height
    return whole


def _strip(heading: Heading) -> Image.Image:
    """Return the heading: the title, and below it the rule."""
    strip = Image.new("RGB", (WIDTH, 48), BACKGROUND)
    pen = ImageDraw.Draw(strip)
    pen.text((0, 0), shortened(heading.title, 17, WIDTH), TEXT, font(17))
    pen.text((0, 23), shortened(heading.rule, 13, WIDTH), SOFT, font(13))
    return strip


def _aspect(one: Exhibit) -> float:
    """Return width over height of the exhibit's panels."""
    return min(max(one.size[0] / one.size[1], ASPECTS[0]), ASPECTS[1])


def _fit(row: Sequence[Exhibit]) -> float:
    """Return the height at which the row fills the sheet's width."""
    gaps = sum(GAP * (len(one.captions) - 1) for one in row) + BETWEEN * (len(row) - 1)
    return (WIDTH - gaps) / sum(_aspect(one) * len(one.captions) for one in row)


def _rows(exhibits: Sequence[Exhibit], height: int) -> list[tuple[list[Exhibit], int]]:
    """Return the exhibits in rows, each with its panels' height, which is near `height`."""
    rows: list[list[Exhibit]] = []
    for one in exhibits:
        with_it = [*rows[-1], one] if rows else [one]
        without = _fit(rows[-1]) if rows else 0.0
        if rows and abs(math.log(_fit(with_it) / height)) <= abs(math.log(without / height)):
            rows[-1] = with_it
        else:
            rows.append([one])
    full = [(row, int(_fit(row))) for row in rows]
    most = int(1.3 * height)
    return [(row, min(fit, most) if row is rows[-1] else fit) for row, fit in full]


def _painted(row: Sequence[Exhibit], height: int) -> Image.Image:
    """Return a row of the sheet."""
    strip = Image.new("RGB", (WIDTH, height + CAPTION + BETWEEN), BACKGROUND)
    pen = ImageDraw.Draw(strip)
    left = 0
    for one in row:
        width = int(_aspect(one) * height)
        scale = min(width / one.size[0], height / one.size[1])
        inner = (max(1, round(one.size[0] * scale)), max(1, round(one.size[1] * scale)))
        for caption, picture in zip(one.captions, one.paint(inner), strict=True):
            pen.text((left, 3), begun(caption, 13, width - 8), SOFT, font(13))
            pen.rectangle((left, CAPTION, left + width - 1, CAPTION + height - 1), BORDER)
            inset = ((width - picture.width) // 2, (height - picture.height) // 2)
            strip.paste(picture, (left + inset[0], CAPTION + inset[1]))
            left += width + GAP
        left += BETWEEN - GAP
    return strip


def _legend(entries: Sequence[tuple[int, str]]) -> Image.Image:
    """Return a patch of colour and a name for each class, in columns."""
    names = [shortened(name, 13, 210) for _, name in entries]
    cell = max(font(13).getlength(name) for name in names) + 40
    columns = max(1, int(WIDTH // cell))
    rows = -(-len(entries) // columns)
    strip = Image.new("RGB", (WIDTH, 20 * rows + 8), BACKGROUND)
    pen = ImageDraw.Draw(strip)
    for place, ((index, _), name) in enumerate(zip(entries, names, strict=True)):
        x, y = int(place // rows * cell), 20 * (place % rows) + 2
        pen.rectangle((x, y + 2, x + 20, y + 14), colour(index), (60, 60, 60))
        pen.text((x + 26, y), name, TEXT, font(13))
    return strip
