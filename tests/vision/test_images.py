import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmadapter.errors import UserError
from mmadapter.vision.images import MAX_PIXELS, decode_rgb


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, int, int]:
    image = decode_rgb(data, "picture.png")
    assert image.mode == "RGB"
    return image.getpixel(at)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 102), (153, 153, 153)),  # 255 * (1 - 0.4)
        ("LA", (50, 255), (50, 50, 50)),
        ("LA", (50, 0), (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("1", 0, (0, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 33100, (129, 129, 129)),  # 33100 / 257 = 128.8; Pillow alone would clip it to 255
        ("I;16", 256, (1, 1, 1)),
    ],
)
def test_png_of_each_mode(mode, color, expected):
    assert pixel(encoded(Image.new(mode, (3, 2), color))) == expected


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 90])
    image.putpixel((1, 0), 1)
    data = encoded(image, transparency=0)
    assert pixel(data, (0, 0)) == (255, 255, 255)
    assert pixel(data, (1, 0)) == (0, 0, 90)


def test_transparent_colour_of_an_rgb_image():
    data = encoded(Image.new("RGB", (2, 2), (1, 2, 3)), transparency=(1, 2, 3))
    assert pixel(data) == (255, 255, 255)


def test_cmyk_jpeg():
    red, green, blue = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert red > 250
    assert max(green, blue) < 5


@pytest.mark.parametrize("format", ["WEBP", "GIF", "BMP", "JPEG"])
def test_other_formats(format):
    image = decode_rgb(encoded(Image.new("RGB", (16, 8), (250, 0, 0)), format), "picture")
    assert image.size == (16, 8)
    assert np.abs(np.asarray(image, int) - (250, 0, 0)).max() <= 6  # JPEG and WebP are lossy


def test_a_photograph_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    assert decode_rgb(encoded(Image.new("RGB", (16, 8)), "JPEG", exif=exif), "photo.jpg").size == (8, 16)


def noise_png() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        noise_png()[:20],
        noise_png()[:1500],
        noise_png()[:200] + b"\0" * 500 + noise_png()[700:],
        encoded(Image.new("RGB", (4, 4)), "TIFF"),
    ],
    ids=["empty", "text", "header cut", "pixels cut", "corrupt", "another format"],
)
def test_what_is_no_whole_image_is_named(data):
    with pytest.raises(UserError, match=r"images/test/7/image\.png: not a readable image"):
        decode_rgb(data, "images/test/7/image.png")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    fields = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [struct.pack(">I", len(x) - 4) + x + struct.pack(">I", zlib.crc32(x)) for x in (fields, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(MAX_PIXELS // 1024 + 1, 1024), (50_000, 2_000), (60_000, 60_000)])
def test_a_bomb_is_refused_before_it_is_decoded(width, height):
    with pytest.raises(UserError, match=r"bomb\.png: the image is too large"):
        decode_rgb(png_header(width, height), "bomb.png")


def test_a_line_of_pixels_is_refused():
    """Resized to a shorter side of 224 pixels, it would take 22 gigabytes."""
    with pytest.raises(UserError, match=r"line\.png: the image is too narrow \(1 x 150000 pixels\); at most 64 to 1"):
        decode_rgb(encoded(Image.new("L", (1, 150_000))), "line.png")
    assert decode_rgb(encoded(Image.new("L", (64, 1))), "line.png").size == (64, 1)
