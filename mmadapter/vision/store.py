"""The feature store: each image is encoded once ever, by content.

Under the store's folder lies one folder a tower, named by its fingerprint and its dtype; in it lie shards,
safetensors files with

    keys      uint8   [n, 32]  sha256 of the encoded images' bytes
    features  float32 [n, F]

A shard is written whole under a name of its own and then renamed, so an interrupted extraction keeps what it had,
and runs that share a store cannot harm each other: at worst both encode an image. Features are kept in
float32, although half precision would do for training: a second run then gets the very bits that the first one
saw, raw class tokens cannot overflow, and the whole of ScienceQA (10,332 images) at four scales of ViT-L/14 is
170 MB.

Axes: N images as given (repetitions included), F features.
"""

import contextlib
import hashlib
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mmadapter.errors import UserError
from mmadapter.vision.images import EncodedImage, decode_rgb
from mmadapter.vision.towers import ImageTower

BATCH = 32
"""Images encoded at a time."""

KEY_BYTES = 32
"""Of a sha256."""

SHARD = 512
"""New images between two writes: what an interruption can lose, half a minute on a slow machine."""


@dataclass(frozen=True, slots=True)
class BrokenImage:
    """An image without features."""

    index: int
    """Its place among the images given."""
    reason: str
    """Names the file."""


class ImageFeatures(NamedTuple):
    """What `FeatureStore.features` returns."""

    values: Float[Tensor, "N F"]
    """float32, on the CPU; the row of a broken image is NaN."""
    broken: list[BrokenImage]
    """In the order given; empty unless errors were to be skipped."""


class _Prepared(NamedTuple):
    """An image on its way: undecodable has a key and an error, unreadable only an error."""

    key: bytes | None
    pixels: Float[Tensor, "3 H W"] | None
    """None as well if its content is stored or was met before."""
    error: UserError | None


class FeatureStore:
    """The stored features of one tower.

    Args:
        folder: of the stores of all towers; usually `cache_dir() / "features"`.
        tower: encodes what the store has not; its weights are not read while there is nothing to encode.

    Raises:
        UserError: a shard cannot be read.
    """

    def __init__(self, folder: Path, tower: ImageTower):
        self.tower = tower
        self.folder = folder / f"{tower.fingerprint[:32]}-{str(tower.dtype).removeprefix('torch.')}"
        self._rows: dict[bytes, Float[Tensor, " F"]] = {}
        self._unwritten: list[bytes] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            self._rows |= _read_shard(path, sum(tower.feature_sizes))

    def __len__(self) -> int:
        """How many distinct images it knows."""
        return len(self._rows)

    def features(
        self,
        images: Sequence[EncodedImage],
        *,
        progress: Callable[[int, int], None] | None = None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageFeatures:
        """The features of images, in the order given; those that are new are encoded and stored.

        Every image is read and hashed every time: a file that changed is a new image.

        Args:
            images: where their bytes are; the same content may occur several times.
            progress: called with (images done, N).
            on_error: about an image that cannot be read or decoded: stop, or go on with the others.

        Raises:
            UserError: such an image, if `on_error` is stop.
        """
        keys: list[bytes | None] = []  # None: the image cannot be read
        errors: dict[int, UserError] = {}
        batch: list[tuple[bytes, Tensor]] = []
        try:
            with contextlib.closing(_threaded(self._preparation(), images)) as prepared:
                for index, (key, pixels, error) in enumerate(prepared):
                    if error is not None:
                        if on_error == "stop":
                            raise error
                        errors[index] = error
                    keys.append(key)
                    if pixels is not None:
                        batch.append((key, pixels))
                    if len(batch) == BATCH:
                        self._encode(batch)
                        batch = []
                    if progress is not None:
                        progress(index + 1 - len(batch), len(images))
            self._encode(batch)
            if progress is not None and batch:
                progress(len(images), len(images))
        finally:
            self._write()
        # the same broken content again: only its first occurrence was decoded
        undecodable = {keys[index]: error for index, error in errors.items() if keys[index] is not None}
        errors |= {index: undecodable[key] for index, key in enumerate(keys) if key in undecodable}
        unknown = torch.full((sum(self.tower.feature_sizes),), torch.nan)
        rows = [unknown if index in errors else self._rows[key] for index, key in enumerate(keys)]
        return ImageFeatures(
            torch.stack(rows) if rows else unknown.new_empty(0, len(unknown)),
            [BrokenImage(index, str(error)) for index, error in sorted(errors.items())],
        )

    def _preparation(self) -> Callable[[EncodedImage], _Prepared]:
        """A function, for many threads, that reads an image and decodes it if its content is new."""
        lock, seen = threading.Lock(), set(self._rows)

        def prepare(image: EncodedImage) -> _Prepared:
            try:
                data = image.read()
            except UserError as error:
                return _Prepared(None, None, error)
            key = hashlib.sha256(data).digest()
            with lock:
                if key in seen:
                    return _Prepared(key, None, None)
                seen.add(key)
            try:
                return _Prepared(key, self.tower.preprocess(decode_rgb(data, image.where)), None)
            except UserError as error:
                return _Prepared(key, None, error)

        return prepare

    def _encode(self, batch: list[tuple[bytes, Tensor]]) -> None:
        if not batch:
            return
        keys, pixels = zip(*batch, strict=True)
        self._rows |= zip(keys, self.tower.encode(torch.stack(pixels)).cpu(), strict=True)
        self._unwritten += keys
        if len(self._unwritten) >= SHARD:
            self._write()

    def _write(self) -> None:
        """Stores what is new as a shard of its own."""
        if not self._unwritten:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{uuid.uuid4().hex}.safetensors"
        unfinished = path.with_suffix(".unfinished")
        shard = {
            "keys": torch.frombuffer(bytearray(b"".join(self._unwritten)), dtype=torch.uint8).view(-1, KEY_BYTES),
            "features": torch.stack([self._rows[key] for key in self._unwritten]),
        }
        save_file(shard, unfinished, {"tower": self.tower.name, "scales": str(self.tower.scales)})
        os.replace(unfinished, path)
        self._unwritten = []


def _read_shard(path: Path, size: int) -> dict[bytes, Float[Tensor, " F"]]:
    try:
        shard = load_file(path)
        keys, features = shard["keys"].numpy(), shard["features"]
        if keys.shape != (len(features), KEY_BYTES) or features.shape[1:] != (size,):
            raise ValueError(f"shapes {keys.shape} and {tuple(features.shape)}, expected n x {KEY_BYTES}, n x {size}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a shard of image features ({error}): delete it") from error
    return {key.tobytes(): row for key, row in zip(keys, features, strict=True)}


def _threaded(function: Callable[[EncodedImage], _Prepared], images: Sequence[EncodedImage]) -> Iterator[_Prepared]:
    """`map` in threads and in order, never more than a few batches ahead: decoded images are large."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    ahead: deque[Future[_Prepared]] = deque()
    try:
        for image in images:
            ahead.append(pool.submit(function, image))
            if len(ahead) > 2 * BATCH:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
