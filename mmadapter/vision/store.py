"""The feature store: each image is encoded once ever, by content.

Each tower has a folder in the store, named by its fingerprint, precision and batch size. Its shards are `tensors`
files:

    keys      uint8   [n, 32]  sha256 of the encoded images' bytes
    features  float32 [n, F]

Runs share a store: the first that meets a new image encodes it, the others wait and find its features. A call writes
one shard, again and again as it grows, so that a killed call keeps what it had.

An image's features do not depend on its batch: every batch has the same number of rows, filled up with blank images,
because a matrix product rounds by its shape and not by its other rows. So order, company and interruptions change no
bit. The whole of ScienceQA (10,332 images) at four scales of ViT-L/14 takes 170 MB in float32.

Axes: N images as given, repetitions included; F features.
"""

import contextlib
import hashlib
import os
import threading
import uuid
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mmadapter.errors import UserError
from mmadapter.storage.files import PacedSaver, check_room
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.tensors import Damaged, load_tensors, save_tensors
from mmadapter.vision.images import EncodedImage, decode_rgb
from mmadapter.vision.towers import ImageTower

CPU_BATCH = 8
"""Images in a batch on a CPU; larger batches leave its cache (EfficientNet-Lite0: 33 ms an image in batches of 4, 48 of
8, 105 of 32; the tiny CLIP: 3.0, 2.5, 2.1)."""

GPU_BATCH = 32

AHEAD = 64
"""Most images decoded ahead."""

KEY_BYTES = 32
"""Length of a sha256."""


@dataclass(frozen=True, slots=True)
class BrokenImage:
    """An image without features."""

    index: int
    """Place among the images given."""
    reason: str
    """The reason, with the file's name."""


class ImageFeatures(NamedTuple):
    """Result of `FeatureStore.features`."""

    values: Float[Tensor, "N F"]
    """float32, on the CPU; the row of a broken image is NaN."""
    broken: list[BrokenImage]
    """In the order given; empty unless errors are skipped."""


class _Prepared(NamedTuple):
    """A read and decoded image. An undecodable one has a key and an error, an unreadable one only an error."""

    key: bytes | None
    pixels: Float[Tensor, "3 H W"] | None
    """None also if its content is stored or was met before."""
    error: UserError | None


class FeatureStore:
    """The stored features of one tower.

    Args:
        folder: with the stores of all towers; usually `cache_dir() / "features"`.
        tower: encodes new images; its weights are loaded only if there are some.

    Raises:
        UserError: a shard cannot be read.
    """

    def __init__(self, folder: Path, tower: ImageTower):
        self.tower = tower
        self.batch = CPU_BATCH if tower.device.type == "cpu" else GPU_BATCH
        dtype = str(tower.dtype).removeprefix("torch.")
        self.folder = folder / f"{tower.fingerprint[:32]}-{dtype}-by-{self.batch}"
        self._rows: dict[bytes, Float[Tensor, " F"]] = {}
        self._shards: dict[Path, int] = {}
        self._read()

    def __len__(self) -> int:
        """Number of distinct images in the store."""
        return len(self._rows)

    def features(
        self,
        images: Sequence[EncodedImage],
        *,
        progress: Callable[[int, str], None] = lambda done, note: None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageFeatures:
        """Return the features of images, in the order given. New images are encoded and stored.

        Every image is read and hashed each time: a changed file is a new image.

        Args:
            images: sources of the bytes; contents may repeat.
            progress: called with the number of images done, and with the process that is waited for, if any.
            on_error: stop at an image that cannot be read or decoded, or go on with the others.

        Raises:
            UserError: such an image, if `on_error` is stop; the store cannot be written.
        """
        keys: list[bytes | None] = []  # None: the image cannot be read
        errors: dict[int, UserError] = {}
        batch: list[tuple[bytes, Tensor]] = []
        with contextlib.closing(_threaded(self._preparation(), images)) as prepared, _Shard(self, len(images)) as shard:
            for index, (key, pixels, error) in enumerate(prepared):
                if error is not None:
                    if on_error == "stop":
                        raise error
                    errors[index] = error
                keys.append(key)
                if key is not None and pixels is not None:
                    batch.append((key, pixels))
                if len(batch) == self.batch:
                    shard.encode(batch, partial(progress, index + 1 - len(batch)))
                    batch = []
                progress(index + 1 - len(batch), "")
            if batch:
                shard.encode(batch, partial(progress, len(images) - len(batch)))
                progress(len(images), "")
        # the same broken content again: only its first occurrence was decoded
        undecodable = {keys[index]: error for index, error in errors.items() if keys[index] is not None}
        errors |= {index: undecodable[key] for index, key in enumerate(keys) if key is not None and key in undecodable}
        unknown = torch.full((sum(self.tower.feature_sizes),), torch.nan)
        rows = [unknown if index in errors or key is None else self._rows[key] for index, key in enumerate(keys)]
        return ImageFeatures(
            torch.stack(rows) if rows else unknown.new_empty(0, len(unknown)),
            [BrokenImage(index, str(error)) for index, error in sorted(errors.items())],
        )

    def _read(self) -> None:
        """Read the shards that are new or have grown."""
        for path in sorted(self.folder.glob("*.safetensors")):
            written = path.stat().st_mtime_ns
            if self._shards.get(path) != written:
                self._rows |= _read_shard(path, sum(self.tower.feature_sizes))
                self._shards[path] = written

    def _preparation(self) -> Callable[[EncodedImage], _Prepared]:
        """Return a thread-safe function that reads an image, and decodes it if its content is new."""
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


class _Shard:
    """The shard of one call. From its first new image on, no other run encodes for this tower."""

    def __init__(self, store: FeatureStore, most: int) -> None:
        """
        Args:
            most: largest number of images to encode.
        """
        self._store = store
        self._bytes = most * (KEY_BYTES + sum(store.tower.feature_sizes) * torch.float32.itemsize)
        self._path = store.folder / f"{uuid.uuid4().hex}.safetensors"
        self._keys: list[bytes] = []
        self._written = 0
        self._save = PacedSaver(self._write)
        self._alone = contextlib.ExitStack()
        self._is_alone = False

    def __enter__(self) -> "_Shard":
        return self

    def __exit__(self, *_: object) -> None:
        with self._alone:
            self._write()

    def encode(self, batch: Sequence[tuple[bytes, Tensor]], waiting: Callable[[str], None]) -> None:
        """Encode a batch of new images.

        Args:
            waiting: called with the process that is waited for.
        """
        store, tower = self._store, self._store.tower
        if not self._is_alone:
            self._alone.enter_context(sole_writer(store.folder, wait=waiting))
            self._is_alone = True
            check_room(store.folder, self._bytes, "the image features")
            store._read()
            for part in store.folder.glob("*.part"):
                part.unlink()  # left by a killed process
        new = {key: pixels for key, pixels in batch if key not in store._rows}  # another run may have encoded some
        if new:
            pixels = torch.stack(list(new.values()))
            blank = pixels.new_zeros(store.batch - len(pixels), *pixels.shape[1:])
            features = tower.encode(torch.cat([pixels, blank])).cpu()
            store._rows |= zip(new, features, strict=False)
            self._keys += new
            self._save()

    def _write(self) -> None:
        if len(self._keys) > self._written:
            shard = {
                "keys": torch.frombuffer(bytearray(b"".join(self._keys)), dtype=torch.uint8).view(-1, KEY_BYTES),
                "features": torch.stack([self._store._rows[key] for key in self._keys]),
            }
            tower = self._store.tower
            save_tensors(self._path, shard, {"tower": tower.name, "scales": str(tower.scales)})
            self._store._shards[self._path] = self._path.stat().st_mtime_ns
            self._written = len(self._keys)


def _read_shard(path: Path, size: int) -> dict[bytes, Float[Tensor, " F"]]:
    try:
        shard, _ = load_tensors(path)
        keys, features = shard["keys"].numpy(), shard["features"]
        if keys.shape != (len(features), KEY_BYTES) or features.shape[1:] != (size,):
            raise Damaged(f"shapes {keys.shape} and {tuple(features.shape)}, expected n x {KEY_BYTES}, n x {size}")
    except (Damaged, KeyError, OSError) as error:
        raise UserError(
            f"{path}: damaged image features ({error})\n  delete it: its images are encoded again"
        ) from error
    return {key.tobytes(): row for key, row in zip(keys, features, strict=True)}


def _threaded(function: Callable[[EncodedImage], _Prepared], images: Sequence[EncodedImage]) -> Generator[_Prepared]:
    """Map in threads, in order."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    ahead: deque[Future[_Prepared]] = deque()
    try:
        for image in images:
            ahead.append(pool.submit(function, image))
            if len(ahead) > AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
