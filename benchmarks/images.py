"""Images a second through the tower, and from the feature store in a second run.

    python -m benchmarks.images --clip efficientnet-lite0 --images 512

The pictures are drawn in sizes like ScienceQA's and lie on the disk as PNG.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.measure import Quartiles, Table, Timing, publish, rates
from mmadapter.backbone.device import resolve_device
from mmadapter.cli.options import program
from mmadapter.scienceqa.layout import ImageFile
from mmadapter.vision.images import decode_rgb
from mmadapter.vision.store import FeatureStore
from mmadapter.vision.towers import ImageTower, load_tower

WIDTHS, HEIGHTS = (150, 750), (100, 500)


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Timing):
    clip: str = "efficientnet-lite0"
    """Image tower: an embedded one, a folder, an open_clip name or a hub id."""
    scales: int = 4
    """M, the number of depths at which the tower is read."""
    images: int = 512
    """Images encoded in each round."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    seed: int = 0
    """Seed of the pictures."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(resolve_device(self.device)))

    @property
    def tag(self) -> str:
        """Part of a result file's name."""
        return Path(self.clip).name


def main(settings: ImageSettings) -> None:
    """Publish the table."""
    tower = load_tower(settings.clip, scales=settings.scales, device=settings.device)
    with tempfile.TemporaryDirectory() as folder:
        files = draw(Path(folder) / "pictures", settings.images, settings.seed)
        fresh, full = Path(folder) / "fresh", Path(folder) / "full"
        store = FeatureStore(full, tower)
        store.features(files)
        pixels = torch.stack([tower.preprocess(decode_rgb(file.read(), file.where)) for file in files[: store.batch]])

        def first_run() -> None:
            shutil.rmtree(fresh, ignore_errors=True)
            FeatureStore(fresh, tower).features(files)

        batches = -(-settings.images // len(pixels))
        spent = settings.spent(
            {
                "first run: read, decode, encode, store": first_run,
                "second run: read and found in the store": lambda: FeatureStore(full, tower).features(files),
                "decode and resize alone": lambda: decode_all(tower, files),
                "tower alone, on ready pixels": lambda: [tower.encode(pixels) for _ in range(batches)],
            }
        )
    done = dict.fromkeys(spent, settings.images) | {"tower alone, on ready pixels": batches * len(pixels)}
    rows = [
        {
            "what": name,
            "images/s": rates(done[name], seconds),
            "seconds a thousand": Quartiles.of([1000 * second / done[name] for second in seconds]),
        }
        for name, seconds in spent.items()
    ]
    publish("images", settings, {"images": settings.images, "tower": settings.clip}, [Table("images", rows)])


def draw(folder: Path, count: int, seed: int) -> list[ImageFile]:
    """Draw different pictures with flat areas and some noise."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    files = []
    for number in range(count):
        width, height = (int(random.integers(*sides)) for sides in (WIDTHS, HEIGHTS))
        coarse = Image.fromarray(random.integers(0, 255, (6, 8, 3), np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.NEAREST)
        picture.paste(Image.fromarray(random.integers(0, 255, (height // 4, width // 4, 3), np.uint8)))
        picture.save(folder / f"{number}.png")
        files.append(ImageFile(folder / f"{number}.png"))
    return files


def decode_all(tower: ImageTower, files: Sequence[ImageFile]) -> None:
    """Decode and resize, in as many threads as the store uses."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda file: tower.preprocess(decode_rgb(file.read(), file.where)), files))


if __name__ == "__main__":
    program(main, ImageSettings)
