"""Thumbnails for one page: each picture once, all as large as the budget allows."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

from PIL import Image

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import ImageSource
from mmadapter.vision.images import decode_rgb

BUDGET = 18 * 2**20
"""Characters for all thumbnails; with the texts of 4,241 questions the page stays below 30 MB."""
SIDES = (480, 384, 320, 256, 224, 192, 160, 128, 96)
"""Longest sides that are tried, in pixels."""
SAMPLE = 48
"""Pictures that are encoded to estimate the size of all."""
QUALITY = 72
THREADS = 4
"""Pillow releases the interpreter lock while it decodes and encodes."""


@dataclass(frozen=True)
class Thumbnails:
    """The thumbnails, and which question has which."""

    files: list[str]
    """`WIDTHxHEIGHT BASE64` of a WebP file for each picture; empty for a broken one."""
    index: dict[str, int]
    """Index of a question's picture, by pid; without the questions that have none."""
    broken: dict[str, str]
    """Why a picture cannot be shown, by pid."""
    side: int
    """Longest side, in pixels."""


def thumbnails(images: Mapping[str, ImageSource], *, budget: int = BUDGET) -> Thumbnails:
    """Encode the pictures of questions, by pid.

    A picture that cannot be read is listed as broken and is no error: the scores do not need it.

    Args:
        budget: in characters, kept to within some percent, because the size is estimated from a sample.
    """
    sources: dict[bytes, tuple[int, bytes, str]] = {}  # place, content and origin, by hash
    index, broken = {}, {}
    for pid, image in images.items():
        try:
            content = image.read()
        except UserError as error:
            broken[pid] = str(error)
        else:
            source = (len(sources), content, image.where)
            index[pid] = sources.setdefault(hashlib.sha256(content).digest(), source)[0]
    contents = [(content, where) for _, content, where in sources.values()]
    with ThreadPoolExecutor(THREADS) as pool:
        side = _side(contents, budget, pool)
        files = list(pool.map(_encoded, contents, repeat(side)))
    broken |= {pid: reason for pid, at in index.items() if (reason := files[at][1])}
    index = {pid: at for pid, at in index.items() if pid not in broken}
    return Thumbnails([text for text, _ in files], index, broken, side)


def _side(contents: list[tuple[bytes, str]], budget: int, pool: ThreadPoolExecutor) -> int:
    """Return the largest side at which all pictures should fit, estimated from evenly spaced ones."""
    sample = contents[:: max(1, len(contents) // SAMPLE)]
    for side in SIDES:
        files = pool.map(_encoded, sample, repeat(side))
        if sum(len(text) for text, _ in files) * len(contents) <= budget * len(sample):
            break
    return side


def _encoded(source: tuple[bytes, str], side: int) -> tuple[str, str | None]:
    """Return a picture as in `Thumbnails.files`, and why it is broken if it is."""
    try:
        image = decode_rgb(*source)
    except UserError as error:
        return "", str(error)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=3)
    return f"{image.width}x{image.height} {base64.b64encode(out.getvalue()).decode('ascii')}", None
