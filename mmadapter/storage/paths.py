"""Places of files that belong to no run: the cache, and the files shipped with the package."""

from __future__ import annotations

import os
from pathlib import Path

ADAPTER_WEIGHTS, ADAPTER_CONFIG, ADAPTER_CARD = "adapter.safetensors", "adapter_config.json", "README.md"
"""The files in an adapter's folder."""


def cache_dir() -> Path:
    """Return the folder of features, downloads and generated data: `MMADAPTER_CACHE`, or `~/.cache/mmadapter`."""
    return Path(os.environ.get("MMADAPTER_CACHE") or Path.home() / ".cache" / "mmadapter").expanduser()


def assets_dir() -> Path:
    """Return the folder of the embedded backbones."""
    return _shipped("assets", "assets")


def embedded(name: str) -> Path | None:
    """Return the folder of the embedded backbone of this name, or None if there is none."""
    folder = assets_dir() / name
    return folder if name and Path(name).name == name and folder.is_dir() else None


def published_file() -> Path:
    """Return the file of published results on ScienceQA, with their sources."""
    return _shipped("published.csv", "eval/published.csv")


def _shipped(in_wheel: str, in_clone: str) -> Path:
    """Find a path in the package of an installed wheel, or else in the clone around the package."""
    package = Path(__file__).parents[1]
    return next(path for path in (package / in_wheel, package.parent / in_clone) if path.exists())
