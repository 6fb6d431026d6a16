"""From the bytes of an image file, however odd, to uint8 RGB pixels.

Pixels are those of Pillow's convert("RGB"), as in the field's loaders: an EXIF rotation is not
applied, and transparency is dropped. Only 16-bit images differ: they are scaled, not cut off.
"""

import io
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import decode_jpeg

MOST_PIXELS = 2**28
"""Larger images are taken for decompression bombs."""
SIZES = frozenset({0xC0, 0xC1, 0xC2})
"""JPEG markers of baseline and progressive frames, which hold height, width and components."""

UNREADABLE = (OSError, SyntaxError, EOFError, ValueError, Image.DecompressionBombError)
"""What Pillow raises for files that are no whole image: SyntaxError for a broken chunk of a PNG."""

Pixels = UInt8[Tensor, "3 _ _"]
"""Of one image: channel, row, column."""
Crops = UInt8[Tensor, "crops 3 side side"]
"""Several views of one image."""


def decode(content: bytes) -> Pixels:
    """Return the pixels; ValueError if the bytes are no whole image or too many pixels."""
    if not content:
        raise ValueError("the file is empty")
    components = _jpeg_components(content)
    if components in (1, 3):
        try:
            data = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
            pixels: Tensor = decode_jpeg(data)
        except RuntimeError as error:
            raise ValueError(f"no whole JPEG: {str(error).splitlines()[0]}") from error
        return pixels if components == 3 else pixels.expand(3, -1, -1)
    return to_pixels(_with_pillow(content))


def read_image(path: Path | str) -> Image.Image:
    """Return an image file as a Pillow image; ValueError naming the file if it is none."""
    try:
        return to_image(decode(Path(path).read_bytes()))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable image: {error}") from error


def to_pixels(image: Image.Image) -> Pixels:
    """Return the pixels of an RGB image, channel first."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def to_image(pixels: Pixels) -> Image.Image:
    """Return the pixels as a Pillow image."""
    return Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))


def _with_pillow(content: bytes) -> Image.Image:
    """Return what Pillow makes of the bytes, as RGB."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            _check_size(*image.size)
            if image.mode.startswith("I"):
                levels = np.asarray(image, dtype=np.float64)
                scale = 257.0 if levels.max() > 255 else 1.0
                return Image.fromarray((levels / scale).round().astype(np.uint8)).convert("RGB")
            return image.convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError("no whole image: of no known format") from error
    except UNREADABLE as error:
        raise ValueError(f"no whole image: {error}") from error


def _jpeg_components(content: bytes) -> int | None:
    """Return the colour components of a JPEG, None for another format or none to be found.

    Walks the segments before the first scan; raises ValueError for too many pixels.
    """
    if content[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in SIZES:
            height = int.from_bytes(content[at + 5 : at + 7])
            _check_size(int.from_bytes(content[at + 7 : at + 9]), height)
            return content[at + 9]
        at += 1 if marker == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4])
    return None


def _check_size(width: int, height: int) -> None:
    """Raise ValueError for more pixels than any photograph of these data sets has."""
    if width * height > MOST_PIXELS:
        raise ValueError(f"{width}x{height} pixels, more than {MOST_PIXELS}: a decompression bomb?")
