import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from mae_bench.kit.decode import decode, read_image, to_pixels

PHOTO = Image.fromarray(data.chelsea())


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def with_pillow(content):
    return to_pixels(Image.open(io.BytesIO(content)).convert("RGB"))


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(PHOTO, "JPEG", exif=exif.tobytes())


READABLE = {
    "jpeg": saved(PHOTO, "JPEG"),
    "jpeg 4:4:4": saved(PHOTO, "JPEG", subsampling=0),
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "grey jpeg": saved(PHOTO.convert("L"), "JPEG"),
    "cmyk jpeg": saved(PHOTO.convert("CMYK"), "JPEG"),
    "rotated by EXIF": rotated(),
    "png": saved(PHOTO, "PNG"),
    "palette png": saved(PHOTO.convert("P"), "PNG"),
    "transparent png": saved(PHOTO.convert("RGBA"), "PNG"),
    "grey png": saved(PHOTO.convert("L"), "PNG"),
    "one bit png": saved(PHOTO.convert("1"), "PNG"),
    "bmp": saved(PHOTO, "BMP"),
    "webp": saved(PHOTO, "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", READABLE)
def test_every_readable_image_gives_pillows_rgb_pixels(name):
    pixels = decode(READABLE[name])
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels, with_pillow(READABLE[name]))


def test_16_bit_images_are_scaled_and_not_cut_off():
    levels = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    pixels = decode(saved(Image.fromarray(levels), "PNG"))
    assert torch.equal(pixels[1], torch.from_numpy((levels / 257).round().astype(np.uint8)))


def bomb_png():
    """Return a PNG that announces 60,000 x 60,000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(body)) + kind + body
        chunks += struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def bomb_jpeg():
    """Return a JPEG whose frame announces 65,500 x 65,500 pixels."""
    content = bytearray(READABLE["jpeg"])
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(content)


BROKEN = {
    "empty": (b"", "empty"),
    "text": (b"<html>404</html>", "no whole image"),
    "truncated jpeg": (READABLE["jpeg"][:3000], "no whole JPEG"),
    "truncated png": (READABLE["png"][:3000], "no whole image"),
    "jpeg of two bytes": (b"\xff\xd8", "no whole image"),
    "png bomb": (bomb_png(), "bomb"),
    "jpeg bomb": (bomb_jpeg(), "bomb"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_image_is_refused_with_its_reason(name):
    content, reason = BROKEN[name]
    with pytest.raises(ValueError, match=reason):
        decode(content)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "broken.JPEG"
    path.write_bytes(b"\xff\xd8\xff no jpeg")
    with pytest.raises(ValueError, match=r"broken\.JPEG is not a readable image"):
        read_image(path)
