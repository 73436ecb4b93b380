"""Decode images of any usual format and mode to RGB."""

import io

import numpy as np
from PIL import Image, ImageOps

from mmadapter.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Formats that are decoded; Pillow's other readers are old, rare, or start other programs."""
MAX_PIXELS = 1 << 24
"""16.8 megapixels, 64 MiB as RGBA; ScienceQA's largest picture has 0.5. Larger images are refused by their header."""
MAX_ASPECT = 64
"""Largest ratio of the sides, 10 in ScienceQA: scaled up to a usual shorter side, a line of pixels would fill the
memory."""


def decode_rgb(data: bytes, where: str) -> Image.Image:
    """Decode an image, or the first frame of an animation, to RGB: upright, 8 bits a channel, on white.

    Pillow's own `convert("RGB")` would drop the alpha channel, often turning transparent pixels black, and clip 16-bit
    greyscale to white.

    Args:
        data: a PNG, JPEG, WebP, GIF or BMP file.
        where: its name in messages.

    Raises:
        UserError: the image is truncated, corrupt, of another format, too large or too narrow.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        _check_size(image, where)
        return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:  # Pillow's own limit, higher than ours
        raise UserError(_TOO_LARGE.format(where, error)) from error
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(
            f"{where}: not a readable image ({error or type(error).__name__}; {len(data)} bytes)\n"
            f"  it must be a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
        ) from error


_TOO_LARGE = f"{{}}: the image is too large ({{}}); at most {MAX_PIXELS:,} pixels are decoded: reduce it"


def _check_size(image: Image.Image, where: str) -> None:
    size = f"{image.width} x {image.height} pixels"
    if image.width * image.height > MAX_PIXELS:
        raise UserError(_TOO_LARGE.format(where, size))
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise UserError(f"{where}: the image is too narrow ({size}); at most {MAX_ASPECT} to 1 is decoded: crop it")


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: I;16 and, from older files, I
        sixteen = np.asarray(image).astype(np.uint32).clip(max=65535)
        image = Image.fromarray(((sixteen * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
