"""Pictures without a model: a hash of their pixels, and 32 x 32 grey values.

Pictures are decoded as the image towers see them (`vision.images.decode_rgb`). Two pictures have the same hash if and
only if they decode to the same size and the same RGB bytes, however they are stored. One pass yields both, the same
stored bytes are decoded once, and a cache file spares the decoding next time.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import PIL
from PIL import Image

from mmadapter.storage.files import write_whole
from mmadapter.vision.images import decode_rgb

if TYPE_CHECKING:
    from mmadapter.scienceqa.problems import Dataset, ImageSource

SIDE = 32
"""Side of the grey thumbnail, in pixels; the picture is stretched to a square."""
CACHE_KEY = f"pictures 1, {SIDE} grey, Pillow {PIL.__version__}"
"""All that the values depend on beside the pictures' bytes: a decoder's next release may round otherwise."""


@dataclass(frozen=True)
class Pictures:
    """Hashes and grey values of pictures, by pid."""

    hashes: Mapping[str, str]
    """SHA-256 of size and RGB bytes, in hexadecimal."""
    grey: pd.DataFrame
    """float32, 1,024 columns: the thumbnail row by row, 0 black to 1 white."""


def question_pictures(*parts: Dataset) -> dict[str, ImageSource]:
    """The pictures of the image questions of some data sets, by pid; none is read yet."""
    return {problem.pid: problem.image for data in parts for problem in data if problem.image is not None}


def read_pictures(images: Mapping[str, ImageSource], cache: Path | None = None) -> Pictures:
    """Hash and thumbnail of every picture.

    Args:
        images: by pid.
        cache: a file of earlier results, written anew if a picture is not in it. One that is missing, damaged or made
            by another version is made again.

    Raises:
        UserError: a picture cannot be read or decoded.
    """
    known = {} if cache is None else _read_cache(cache)
    content: dict[str, bytes] = {}
    fresh = False
    for pid, image in images.items():
        data = image.read()
        content[pid] = hashlib.sha256(data).digest()
        if content[pid] not in known:
            known[content[pid]] = _look(decode_rgb(data, image.where))
            fresh = True
    if cache is not None and fresh:
        _write_cache(cache, known)
    grey = np.array([known[key][1] for key in content.values()], dtype=np.float32).reshape(len(content), SIDE * SIDE)
    index = pd.Index(list(content), dtype="string", name="pid")
    return Pictures({pid: known[key][0].hex() for pid, key in content.items()}, pd.DataFrame(grey / 255, index=index))


def _look(image: Image.Image) -> tuple[bytes, np.ndarray]:
    """The hash, and the thumbnail as bytes."""
    size = f"{image.width} {image.height} ".encode()
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return hashlib.sha256(size + image.tobytes()).digest(), np.asarray(small, dtype=np.uint8).ravel()


def _read_cache(file: Path) -> dict[bytes, tuple[bytes, np.ndarray]]:
    """Empty where there is none that holds: zip's own checksums tell a damaged one."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            if str(saved["key"]) != CACHE_KEY:
                return {}
            stored, pixels, grey = saved["stored"], saved["pixels"], saved["grey"]
        if stored.shape != pixels.shape or stored.shape[1:] != (32,) or grey.shape != (len(stored), SIDE * SIDE):
            return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return {s.tobytes(): (p.tobytes(), g) for s, p, g in zip(stored, pixels, grey, strict=True)}


def _write_cache(file: Path, known: Mapping[bytes, tuple[bytes, np.ndarray]]) -> None:
    packed = io.BytesIO()
    np.savez(
        packed,
        key=np.array(CACHE_KEY),
        stored=_bytes_array(list(known)),
        pixels=_bytes_array([pixels for pixels, _ in known.values()]),
        grey=np.array([grey for _, grey in known.values()]),
    )
    write_whole(file, lambda part: part.write_bytes(packed.getvalue()))


def _bytes_array(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32)
