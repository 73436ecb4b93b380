"""Decode images from anywhere to RGB."""

import io
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps

from mmadapter.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""The formats that are decoded; Pillow's other readers are old, rare, or start other programs."""

MAX_PIXELS = 1 << 24
"""16.8 megapixels, 64 MiB as RGBA. Larger images are refused by their header. ScienceQA's largest has 0.5; at this size
none takes a second."""
MAX_ASPECT = 64
"""Largest ratio of the sides, 10 in ScienceQA: a line of pixels resized to its shorter side would fill the memory."""


@runtime_checkable
class EncodedImage(Protocol):
    """Where an image's bytes are; nothing is read before `read` is called."""

    @property
    def where(self) -> str:
        """The file (and row) that a message can name."""

    def read(self) -> bytes:
        """The encoded image.

        Raises:
            UserError: it cannot be read.
        """


def decode_rgb(data: bytes, where: str) -> Image.Image:
    """Decode an image to RGB: upright, 8 bits a channel, transparency on white, an animation's first frame.

    Pillow's own `convert("RGB")` drops the alpha channel, which often turns transparent parts black, and clips 16-bit
    greyscale to white.

    Args:
        data: a PNG, JPEG, WebP, GIF or BMP file.
        where: its name in messages.

    Raises:
        UserError: truncated, corrupt, of another format, larger than `MAX_PIXELS` or narrower than `MAX_ASPECT`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        fits = image.width * image.height <= MAX_PIXELS
        if fits and max(image.size) <= MAX_ASPECT * min(image.size):
            return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:  # Pillow's own limit, higher than ours
        raise UserError(_too_large(where, str(error))) from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, ValueError, struct.error, ...
        raise UserError(
            f"{where}: not a readable image ({error or type(error).__name__}; {len(data)} bytes)\n"
            f"  it must be a whole {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
        ) from error
    size = f"{image.width} x {image.height} pixels"
    if fits:
        raise UserError(f"{where}: the image is too narrow ({size}); at most {MAX_ASPECT} to 1 is decoded: crop it")
    raise UserError(_too_large(where, size))


def _too_large(where: str, size: str) -> str:
    return f"{where}: the image is too large ({size}); at most {MAX_PIXELS:,} pixels are decoded: reduce it"


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit greyscale: I;16 and, from older files, I
        sixteen = np.asarray(image).astype(np.uint32).clip(max=65535)
        image = Image.fromarray(((sixteen * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
