"""Hashes and thumbnails of pictures, and their cache."""

import io
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from mmadapter.errors import UserError
from mmadapter.vision import pictures
from mmadapter.vision.pictures import SIDE, read_pictures


@dataclass
class Stored:
    """A picture in memory that counts how often it is read."""

    data: bytes
    where: str = "memory"
    reads: list = field(default_factory=list)

    def read(self):
        self.reads.append(1)
        return self.data


def encoded(pixels, form="PNG", **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return Stored(out.getvalue())


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(256, size=(37, 53, 3), dtype=np.uint8)


def test_same_pixels_have_the_same_hash_however_stored(pixels):
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    found = read_pictures(
        {
            "png": encoded(pixels),
            "packed": encoded(pixels, compress_level=1),
            "webp": encoded(pixels, "WEBP", lossless=True),
            "other": encoded(other),
            "turned": encoded(np.ascontiguousarray(pixels.reshape(53, 37, 3))),
        }
    ).hashes
    assert found["png"] == found["packed"] == found["webp"]
    assert len({found["png"], found["other"], found["turned"]}) == 3


def test_thumbnail_is_grey_from_0_to_1():
    half = np.zeros((64, 128, 3), dtype=np.uint8)
    half[:, 64:] = 255
    grey = read_pictures({"7": encoded(half)}).grey
    assert list(grey.index) == ["7"]
    square = grey.to_numpy().reshape(SIDE, SIDE)
    assert (square[:, : SIDE // 2 - 1] == 0).all()
    assert (square[:, SIDE // 2 + 1 :] == 1).all()


def test_no_pictures():
    found = read_pictures({})
    assert not found.hashes
    assert found.grey.shape == (0, SIDE * SIDE)


def test_what_is_cached_is_not_decoded(pixels, tmp_path, monkeypatch):
    images = {"1": encoded(pixels), "2": encoded(pixels), "3": encoded(pixels[::-1].copy())}
    first = read_pictures(images, tmp_path / "seen.npz")
    monkeypatch.setattr(pictures, "decode_rgb", lambda *_: pytest.fail("decoded again"))
    again = read_pictures(images, tmp_path / "seen.npz")
    assert again.hashes == first.hashes
    assert again.grey.equals(first.grey)


@pytest.mark.parametrize("damage", ["cut", "bit", "key", "text"])
def test_a_cache_that_does_not_hold_is_made_again(damage, pixels, tmp_path, monkeypatch):
    images, file = {"1": encoded(pixels)}, tmp_path / "seen.npz"
    first = read_pictures(images, file)
    whole = file.read_bytes()
    if damage == "key":
        monkeypatch.setattr(pictures, "CACHE_KEY", "another version")
    elif damage == "text":
        file.write_text("no cache")
    else:
        at = whole.index(np.asarray(first.grey * 255).round().astype(np.uint8).tobytes()[:64])
        file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else whole[:at] + b"\0\1\2" + whole[at + 3 :])
    again = read_pictures(images, file)
    assert again.hashes == first.hashes
    assert again.grey.equals(first.grey)
    monkeypatch.setattr(pictures, "decode_rgb", lambda *_: pytest.fail("the cache was not made again"))
    read_pictures(images, file)


def test_a_broken_picture_is_named():
    with pytest.raises(UserError, match="page 3"):
        read_pictures({"1": Stored(b"no picture", "page 3")})
