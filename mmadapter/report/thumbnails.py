"""Reduce pictures to fit on one page: each content once, all as large as there is room."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import ImageSource
from mmadapter.vision.images import decode_rgb

BUDGET = 18 * 2**20
"""Characters for all pictures; with the texts of 4,241 questions the page stays below 30 MB."""
SIDES = (480, 384, 320, 256, 224, 192, 160, 128, 96)
"""Longest sides to try, in pixels."""
SAMPLE = 48
"""Pictures that are encoded to estimate the size of all."""
QUALITY = 72
THREADS = 4
"""Number of threads; Pillow releases the interpreter while it decodes and encodes."""


@dataclass(frozen=True)
class Thumbnails:
    """Reduced pictures, and the one of each question."""

    files: list[str]
    """Pictures as `WIDTHxHEIGHT BASE64` of a WebP file; empty where broken."""
    index: dict[str, int]
    """Index by pid, for questions with a picture."""
    broken: dict[str, str]
    """Reason by pid, where a picture cannot be shown."""
    side: int
    """Longest side, in pixels."""


def thumbnails(images: Mapping[str, ImageSource], *, budget: int = BUDGET) -> Thumbnails:
    """Reduce the pictures of questions.

    A picture that cannot be read is named, not fatal: the scores were computed without it.

    Args:
        budget: of characters. It is met from a sample, so to some percent.
    """
    place: dict[bytes, int] = {}
    contents: list[tuple[bytes, str]] = []
    index, broken = {}, {}
    for pid, image in images.items():
        try:
            content = image.read()
        except UserError as error:
            broken[pid] = str(error)
            continue
        key = hashlib.sha256(content).digest()
        if key not in place:
            place[key] = len(contents)
            contents.append((content, image.where))
        index[pid] = place[key]
    with ThreadPoolExecutor(THREADS) as pool:
        side = _side(contents, budget, pool)
        files = list(pool.map(lambda item: _encoded(item[0], item[1], side), contents))
    for pid, at in list(index.items()):
        if not files[at].ok:
            broken[pid] = files[at].text
            del index[pid]
    return Thumbnails([file.text if file.ok else "" for file in files], index, broken, side)


@dataclass(frozen=True)
class _File:
    ok: bool
    text: str
    """A picture as in `Thumbnails.files`, or the reason why not."""


def _side(contents: list[tuple[bytes, str]], budget: int, pool: ThreadPoolExecutor) -> int:
    """The largest side at which all pictures fit, estimated from evenly spaced ones."""
    sample = contents[:: max(1, len(contents) // SAMPLE)]
    for side in SIDES:
        size = sum(
            len(file.text) for file in pool.map(lambda item, side=side: _encoded(item[0], item[1], side), sample)
        )
        if size * len(contents) <= budget * len(sample):
            return side
    return SIDES[-1]


def _encoded(content: bytes, where: str, side: int) -> _File:
    try:
        image = decode_rgb(content, where)
    except UserError as error:
        return _File(False, str(error))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=3)
    return _File(True, f"{image.width}x{image.height} {base64.b64encode(out.getvalue()).decode('ascii')}")
