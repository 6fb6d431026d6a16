"""Pictures of ground truth beside prediction, for detection and segmentation."""

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

HEIGHT = 192
"""Pixels of one picture in the sheet."""
GAP = 6


@dataclass(frozen=True)
class Outline:
    """One object: class index, class name and mask bool [height, width]."""

    index: int
    name: str
    mask: np.ndarray


def colour(index: int) -> tuple[int, int, int]:
    """Return a colour for a class index; neighbouring indices differ clearly."""
    hue = index * 0.618034 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75 if index % 2 else 0.95, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_outlines(image: Image.Image, outlines: list[Outline]) -> Image.Image:
    """Return the image, enlarged, with tinted masks, boxes and class names."""
    pixels = np.asarray(image, np.float32).copy()
    for one in outlines:
        pixels[one.mask] = 0.5 * pixels[one.mask] + 0.5 * np.array(colour(one.index))
    scale = HEIGHT / image.height
    picture = enlarged(Image.fromarray(pixels.astype(np.uint8)))
    pen = ImageDraw.Draw(picture)
    for one in outlines:
        rows, columns = (np.flatnonzero(one.mask.any(axis=axis)) for axis in (1, 0))
        if rows.size:
            ends = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            box = [float(value) * scale for value in ends]
            pen.rectangle(box, outline=colour(one.index), width=2)
            _tag(pen, (box[0], box[1]), one.name)
    return picture


def draw_labels(labels: np.ndarray) -> Image.Image:
    """Return a label map [height, width] in colours, enlarged; 255 is black."""
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    for index in np.unique(labels):
        if index != 255:
            pixels[labels == index] = colour(int(index))
    return enlarged(Image.fromarray(pixels), Image.Resampling.NEAREST)


def side_by_side(
    columns: list[tuple[Image.Image, ...]], names: tuple[str, ...], legend: tuple[str, ...] = ()
) -> Image.Image:
    """Return a sheet with one column a tuple of pictures, row names, and a legend of classes."""
    width = sum(column[0].width + GAP for column in columns) - GAP
    rows = len(names) * (HEIGHT + GAP) - GAP
    sheet = Image.new("RGB", (width, rows + (24 if legend else 0)), "white")
    pen = ImageDraw.Draw(sheet)
    left = 0
    for column in columns:
        for row, picture in enumerate(column):
            sheet.paste(picture, (left, row * (HEIGHT + GAP)))
        left += column[0].width + GAP
    for row, name in enumerate(names):
        _tag(pen, (2, row * (HEIGHT + GAP) + HEIGHT - 16), name)
    for i, name in enumerate(legend):
        x = i * width // len(legend)
        pen.rectangle([x, rows + 7, x + 10, rows + 17], fill=colour(i))
        pen.text((x + 14, rows + 6), name, fill="black")
    return sheet


def enlarged(
    image: Image.Image, method: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Return the image at the sheet's height."""
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), method)


def _tag(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str) -> None:
    """Write text on a black strip."""
    box = pen.textbbox(at, text)
    pen.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], fill="black")
    pen.text(at, text, fill="white")
