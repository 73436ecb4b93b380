"""The feature store: each image is encoded once ever, by content.

Under the store's folder lies one folder a tower, named by its fingerprint, its dtype and the rows of a batch; in it
lie shards, `tensors` files with

    keys      uint8   [n, 32]  sha256 of the encoded images' bytes
    features  float32 [n, F]

Runs share a store: the first that meets a new image encodes, the others wait and find its features. A call writes
one shard, again and again as it grows, so a killed extraction keeps what it had. An image's features are its own to
the last bit: every batch has the same number of rows, with blank images in the last one, because a matrix product
rounds by its shape and not by what its other rows hold. So it makes no difference what was stored before, which
images come with it, in which order, and where an extraction was killed. Features are kept in float32, although half
precision would do for training: raw class tokens cannot overflow, and the whole of ScienceQA (10,332 images) at
four scales of ViT-L/14 is 170 MB.

Axes: N images as given (repetitions included), F features.
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
"""Images encoded at a time: on a processor more of them only leave its cache (EfficientNet-Lite0: 33 ms an image by 4,
48 by 8, 105 by 32; the tiny CLIP: 3.0, 2.5, 2.1)."""

GPU_BATCH = 32

AHEAD = 64
"""Images decoded before they are needed: they are large."""

KEY_BYTES = 32
"""Of a sha256."""


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
        self.batch = CPU_BATCH if tower.device.type == "cpu" else GPU_BATCH
        dtype = str(tower.dtype).removeprefix("torch.")
        self.folder = folder / f"{tower.fingerprint[:32]}-{dtype}-by-{self.batch}"
        self._rows: dict[bytes, Float[Tensor, " F"]] = {}
        self._shards: dict[Path, int] = {}
        self._read()

    def __len__(self) -> int:
        """How many distinct images it knows."""
        return len(self._rows)

    def features(
        self,
        images: Sequence[EncodedImage],
        *,
        progress: Callable[[int, str], None] = lambda done, note: None,
        on_error: Literal["stop", "skip"] = "stop",
    ) -> ImageFeatures:
        """The features of images, in the order given; those that are new are encoded and stored.

        Every image is read and hashed every time: a file that changed is a new image.

        Args:
            images: where their bytes are; the same content may occur several times.
            progress: called with the number of images done, and what is being waited for if anything is.
            on_error: about an image that cannot be read or decoded: stop, or go on with the others.

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
        """Take up the shards that are new or have grown."""
        for path in sorted(self.folder.glob("*.safetensors")):
            written = path.stat().st_mtime_ns
            if self._shards.get(path) != written:
                self._rows |= _read_shard(path, sum(self.tower.feature_sizes))
                self._shards[path] = written

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


class _Shard:
    """What one call encodes: from its first new image to its end no other run encodes for this tower."""

    def __init__(self, store: FeatureStore, most: int) -> None:
        """
        Args:
            most: images that may be encoded.
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
        """Add at most `batch` images to the store's rows.

        Args:
            waiting: told whom it waits for.
        """
        store, tower = self._store, self._store.tower
        if not self._is_alone:
            self._alone.enter_context(sole_writer(store.folder, wait=waiting))
            self._is_alone = True
            check_room(store.folder, self._bytes, "the image features")
            store._read()
            for part in store.folder.glob("*.part"):
                part.unlink()  # of a killed process: nobody writes now
        new = {key: pixels for key, pixels in batch if key not in store._rows}  # another run may have had them
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
    """`map` in threads and in order."""
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
