"""The feature store: each image is encoded only once, by content.

Every combination of a tower (its fingerprint), a dtype and a batch size has a folder of its own, with shards:
`storage.tensors` files that hold

    keys      uint8   [n, 32]  sha256 of each encoded image's bytes
    features  float32 [n, F]

Runs share a store: the first to meet a new image encodes, the others wait and find its features. Each call writes one
shard, again and again as it grows, so a killed extraction keeps its work.

An image's features do not depend, to the last bit, on what was stored before or on the other images and their order:
all batches have the same number of rows, blank images filling up the last one, because a matrix product rounds by its
shape and not by the content of other rows.

Features are float32: the whole of ScienceQA (10,332 images) at four scales of ViT-L/14 is only 170 MB, and half
precision could overflow.

Axes: N images as given (with repetitions), F features.
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
from mmadapter.scienceqa.problems import ImageSource
from mmadapter.storage.files import PacedSaver, check_room
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.tensors import Damaged, load_tensors, save_tensors
from mmadapter.vision.images import decode_rgb
from mmadapter.vision.towers import ImageTower

CPU_BATCH = 8
"""Larger batches do not fit a CPU's cache. Milliseconds for an image with EfficientNet-Lite0: 33 in batches of 4, 48 of
8, 105 of 32; with the tiny CLIP: 3.0, 2.5, 2.1."""
GPU_BATCH = 32
AHEAD = 64
"""Images decoded ahead of the tower."""
KEY_BYTES = 32
"""Bytes in a sha256."""


@dataclass(frozen=True, slots=True)
class BrokenImage:
    """An image without features."""

    index: int
    """Its position among the images given."""
    reason: str
    """Names the file."""


class ImageFeatures(NamedTuple):
    """The result of `FeatureStore.features`."""

    values: Float[Tensor, "N F"]
    """float32, on the CPU; NaN for a broken image."""
    broken: list[BrokenImage]
    """In the order given; empty unless broken images are skipped."""


class _Prepared(NamedTuple):
    """An image as the threads return it: with an error and no key if unreadable, with both if undecodable."""

    key: bytes | None
    pixels: Float[Tensor, "3 H W"] | None
    """None also for content that is stored or came earlier."""
    error: UserError | None


class FeatureStore:
    """The stored features of one tower.

    Args:
        folder: shared by the stores of all towers; usually `cache_dir() / "features"`.
        tower: encodes new images; without any, its weights are never loaded.

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
        """Return the number of distinct images stored."""
        return len(self._rows)

    def features(
        self,
        images: Sequence[ImageSource],
        *,
        progress: Callable[[int, str], None] = lambda done, note: None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageFeatures:
        """Return the features of images, encoding and storing those that are new.

        Every image is read and hashed each time, so a changed file is a new image.

        Args:
            images: may repeat the same content.
            progress: called with the number of images done and a note on what is being waited for, or "".
            on_error: what to do about an image that cannot be read or decoded.

        Raises:
            UserError: a broken image, unless they are skipped; the store cannot be written.
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
                if len(batch) == self.batch or (batch and index == len(images) - 1):
                    shard.encode(batch, partial(progress, index + 1 - len(batch)))
                    batch = []
                progress(index + 1 - len(batch), "")
        # broken content that occurs again: only its first occurrence was decoded
        undecodable = {keys[index]: error for index, error in errors.items() if keys[index] is not None}
        errors |= {index: undecodable[key] for index, key in enumerate(keys) if key in undecodable}
        unknown = torch.full((sum(self.tower.feature_sizes),), torch.nan)
        rows = [unknown if index in errors or key is None else self._rows[key] for index, key in enumerate(keys)]
        return ImageFeatures(
            torch.stack(rows) if rows else unknown.new_empty(0, len(unknown)),
            [BrokenImage(index, str(error)) for index, error in sorted(errors.items())],
        )

    def count_new(self, images: Sequence[ImageSource]) -> int:
        """Return how many distinct images `features` would have to encode, among those that can be read.

        In an empty store nothing is compared: all of them are.
        """
        if not self._rows:
            return len(images)
        keys = set()
        for image in images:
            with contextlib.suppress(UserError):
                keys.add(hashlib.sha256(image.read()).digest())
        return len(keys - self._rows.keys())

    def _read(self) -> None:
        """Read the shards that are new or have grown."""
        for path in sorted(self.folder.glob("*.safetensors")):
            written = path.stat().st_mtime_ns
            if self._shards.get(path) != written:
                self._rows |= _read_shard(path, sum(self.tower.feature_sizes))
                self._shards[path] = written

    def _preparation(self) -> Callable[[ImageSource], _Prepared]:
        """Return a thread-safe function that reads an image and decodes it if its content is new."""
        lock, seen = threading.Lock(), set(self._rows)

        def prepare(image: ImageSource) -> _Prepared:
            key = None
            try:
                data = image.read()
                key = hashlib.sha256(data).digest()
                with lock:
                    if key in seen:
                        return _Prepared(key, None, None)
                    seen.add(key)
                return _Prepared(key, self.tower.preprocess(decode_rgb(data, image.where)), None)
            except UserError as error:
                return _Prepared(key, None, error)

        return prepare


class _Shard:
    """The images that one call encodes. From the first of them to its end, no other run encodes for this tower."""

    def __init__(self, store: FeatureStore, most: int) -> None:
        self._store = store
        self._bytes = most * (KEY_BYTES + sum(store.tower.feature_sizes) * torch.float32.itemsize)
        self._path = store.folder / f"{uuid.uuid4().hex}.safetensors"
        self._keys: list[bytes] = []
        self._written = 0
        self._save = PacedSaver(self._write)
        self._lock = contextlib.ExitStack()
        self._locked = False

    def __enter__(self) -> "_Shard":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._write()

    def encode(self, batch: Sequence[tuple[bytes, Tensor]], waiting: Callable[[str], None]) -> None:
        """Encode the images of a batch that the store still lacks.

        Args:
            waiting: called with a note on the process that holds the lock.
        """
        store, tower = self._store, self._store.tower
        if not self._locked:
            self._lock.enter_context(sole_writer(store.folder, wait=waiting))
            self._locked = True
            check_room(store.folder, self._bytes, "the image features")
            store._read()  # another run may have encoded some of them
            for part in store.folder.glob("*.part"):
                part.unlink()  # left by a killed process
        new = {key: pixels for key, pixels in batch if key not in store._rows}
        if new:
            pixels = torch.stack(list(new.values()))
            blank = pixels.new_zeros(store.batch - len(pixels), *pixels.shape[1:])
            store._rows |= zip(new, tower.encode(torch.cat([pixels, blank])).cpu(), strict=False)
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


def _threaded(function: Callable[[ImageSource], _Prepared], images: Sequence[ImageSource]) -> Generator[_Prepared]:
    """Apply a function in threads, at most `AHEAD` images ahead, and yield its results in order."""
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
