import io
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import ImageSource
from mmadapter.storage.locks import sole_writer
from mmadapter.vision.images import decode_rgb
from mmadapter.vision.store import CPU_BATCH, FeatureStore
from mmadapter.vision.towers import load_tower

from .conftest import VIT


@dataclass
class Picture:
    """A tiny PNG of one colour; `reads` counts."""

    color: tuple[int, int, int]
    where: str = "picture.png"
    reads: list[int] = field(default_factory=list)

    def read(self) -> bytes:
        self.reads.append(1)
        buffer = io.BytesIO()
        Image.new("RGB", (9, 9), self.color).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass
class Broken(Picture):
    """A file that is no image, or that is missing."""

    missing: bool = False

    def read(self) -> bytes:
        if self.missing:
            raise UserError(f"{self.where}: no such file")
        return b"GIF89a"


def pictures(count: int, start: int = 0) -> list[Picture]:
    return [Picture((index, 7 * index % 256, 255 - index)) for index in range(start, start + count)]


@pytest.fixture
def folder(save_open_clip) -> Path:
    return save_open_clip(VIT)


class CountingTower:
    """Counts the images that a tower encodes, without the blank ones that fill a batch."""

    def __init__(self, folder: Path, scales: int = 2):
        self.tower = load_tower(str(folder), scales=scales)
        self.encoded = 0
        encode = self.tower.encode

        def counting(images):
            self.encoded += int(images.flatten(1).any(dim=1).sum())
            return encode(images)

        self.tower.encode = counting


def store(root: Path, folder: Path, scales: int = 2) -> tuple[FeatureStore, CountingTower]:
    counting = CountingTower(folder, scales)
    return FeatureStore(root, counting.tower), counting


def test_features_are_the_towers_in_the_order_given(folder, tmp_path):
    images = pictures(70)  # more than two batches
    assert isinstance(images[0], ImageSource)
    features, tower = store(tmp_path / "store", folder)
    values, broken = features.features(images)
    pixels = torch.stack([tower.tower.preprocess(decode_rgb(image.read(), "")) for image in images])
    torch.testing.assert_close(values, tower.tower.encode(pixels), rtol=1e-5, atol=1e-5)
    assert values.dtype == torch.float32
    assert broken == []


def test_the_second_run_gets_the_same_bits_without_the_tower(folder, tmp_path):
    images = pictures(40)
    first = store(tmp_path / "store", folder)[0].features(images).values
    again, tower = store(tmp_path / "store", folder)
    assert torch.equal(again.features(images[::-1]).values, first.flip(0))
    assert tower.encoded == 0
    assert "model" not in vars(tower.tower)  # its weights were never read


def test_each_content_is_encoded_once(folder, tmp_path):
    images = [*pictures(3), *pictures(3), Picture((0, 0, 255), where="a copy elsewhere.png")]
    features, tower = store(tmp_path / "store", folder)
    values = features.features(images).values
    assert (tower.encoded, len(features)) == (3, 3)
    assert torch.equal(values[:3], values[3:6])
    assert torch.equal(values[0], values[6])
    features.features(pictures(5))
    assert (tower.encoded, len(features)) == (5, 5)
    assert len(list(features.folder.glob("*.safetensors"))) == 2


def test_an_interrupted_extraction_resumes_to_the_same_bits(folder, tmp_path):
    images = pictures(150)
    features, tower = store(tmp_path / "store", folder)

    def interrupt(done: int, note: str) -> None:
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        features.features(images, progress=interrupt)
    kept = tower.encoded
    again, tower = store(tmp_path / "store", folder)
    assert len(again) == kept >= 96
    values = again.features(images).values
    assert tower.encoded == 150 - kept
    assert torch.equal(values, store(tmp_path / "other store", folder)[0].features(images).values)
    assert not list(again.folder.glob("*.part"))


def test_what_a_killed_run_had_half_written_is_cleared(folder, tmp_path):
    features, _ = store(tmp_path / "store", folder)
    features.features(pictures(2))
    (features.folder / "0123.safetensors.part").write_bytes(b"half")
    again, _ = store(tmp_path / "store", folder)
    again.features(pictures(4))
    assert {path.suffix for path in again.folder.iterdir()} == {".safetensors", ""}  # the shards and the lock


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=20), min_size=1, max_size=4))
def test_an_images_features_are_its_own_to_the_last_bit(reference, calls):
    """Whatever was stored before, which images come with it and in which order."""
    tower, images, expected = reference
    with tempfile.TemporaryDirectory() as root:
        for call in calls:
            values = FeatureStore(Path(root), tower).features([images[index] for index in call]).values
            assert torch.equal(values, expected[call])


@pytest.fixture
def reference(folder, tmp_path):
    images, tower = pictures(40), load_tower(str(folder), scales=2)
    return tower, images, FeatureStore(tmp_path / "reference", tower).features(images).values


def test_progress_counts_to_the_end(folder, tmp_path):
    seen = []
    store(tmp_path / "store", folder)[0].features(pictures(35), progress=lambda done, note: seen.append(done))
    assert seen[-1] == 35
    assert seen == sorted(seen)


def test_stop_at_a_broken_image_keeps_what_was_done(folder, tmp_path):
    features, _ = store(tmp_path / "store", folder)
    images = [*pictures(40), Broken((0, 0, 0), where="images/test/7/image.png"), *pictures(5, start=40)]
    with pytest.raises(UserError, match=r"images/test/7/image\.png: not a readable image"):
        features.features(images)
    assert len(store(tmp_path / "store", folder)[0]) == 40 // CPU_BATCH * CPU_BATCH  # the whole batches


def test_skip_broken_images(folder, tmp_path):
    features, _ = store(tmp_path / "store", folder)
    bad = Broken((0, 0, 0), where="bad.png")
    missing = Broken((0, 0, 0), where="missing.png", missing=True)
    images = [*pictures(2), bad, missing, Broken((0, 0, 0), where="the same bytes.png"), *pictures(1, start=2)]
    for _ in range(2):  # a broken image is not remembered as encoded
        values, broken = features.features(images, on_error="skip")
        assert [item.index for item in broken] == [2, 3, 4]
        assert broken[0].reason.startswith("bad.png: not a readable image")
        assert broken[1].reason == "missing.png: no such file"
        assert values[[2, 3, 4]].isnan().all()
        assert values[[0, 1, 5]].isfinite().all()
    assert len(features) == 3


def test_no_images(folder, tmp_path):
    values, broken = store(tmp_path / "store", folder)[0].features([])
    assert values.shape == (0, 48)
    assert broken == []


def test_towers_do_not_share_features(folder, tmp_path):
    store(tmp_path / "store", folder)[0].features(pictures(2))
    assert len(store(tmp_path / "store", folder, scales=3)[0]) == 0
    half = FeatureStore(tmp_path / "store", load_tower(str(folder), scales=2, dtype=torch.bfloat16))
    assert len(half) == 0


def test_runs_at_the_same_time_encode_each_image_once(folder, tmp_path):
    stores = [store(tmp_path / "store", folder) for _ in range(3)]
    found, waiting = {}, [threading.Event() for _ in stores]

    def run(index: int) -> None:
        def progress(done: int, note: str) -> None:
            if note.startswith("waiting for process "):
                waiting[index].set()

        images = pictures(40, start=10 * index)  # 0 to 59, most of them in two or three of the runs
        found[index] = stores[index][0].features(images, progress=progress).values

    threads = [threading.Thread(target=run, args=(index,)) for index in range(3)]
    with sole_writer(stores[0][0].folder):  # so that all three begin together, having told that they wait
        for thread in threads:
            thread.start()
        for event in waiting:
            assert event.wait(60)
    for thread in threads:
        thread.join()
    assert sum(tower.encoded for _, tower in stores) == 60
    alone = store(tmp_path / "alone", folder)[0].features(pictures(60)).values
    for index, values in found.items():
        assert torch.equal(values, alone[10 * index : 10 * index + 40])


@pytest.mark.parametrize("damage", [lambda data: data[:-10], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_a_damaged_shard_is_named(folder, tmp_path, damage):
    features, _ = store(tmp_path / "store", folder)
    features.features(pictures(2))
    (shard,) = features.folder.glob("*.safetensors")
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(UserError, match=rf"{shard.name}: damaged image features (.|\n)*delete it"):
        store(tmp_path / "store", folder)


def test_a_store_that_cannot_be_written_is_named(folder, tmp_path):
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(UserError, match=r"\.lock: cannot be written: "):
        store(tmp_path / "store", folder)[0].features(pictures(2))


def test_a_disk_without_room_is_told_before_the_first_is_encoded(folder, tmp_path, monkeypatch):
    features, tower = store(tmp_path / "store", folder)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match=r"the image features take 0\.00 GB, 0\.00 GB are free"):
        features.features(pictures(40))
    assert tower.encoded == 0
    assert not list(features.folder.glob("*.safetensors"))


def test_threads_end_with_the_call(folder, tmp_path):
    features, _ = store(tmp_path / "store", folder)
    before = threading.active_count()
    features.features(pictures(20))
    with pytest.raises(UserError):
        features.features([Broken((0, 0, 0))])
    assert threading.active_count() == before
