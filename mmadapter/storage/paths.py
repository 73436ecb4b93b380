"""Paths outside of runs: the cache, and what the package ships."""

from __future__ import annotations

import os
from pathlib import Path

ADAPTER_WEIGHTS, ADAPTER_CONFIG, ADAPTER_CARD = "adapter.safetensors", "adapter_config.json", "README.md"
"""The files of an adapter's folder."""


def cache_dir() -> Path:
    """The cache, for features, fetched weights and generated data: `MMADAPTER_CACHE`, else `~/.cache/mmadapter`."""
    return Path(os.environ.get("MMADAPTER_CACHE") or Path.home() / ".cache" / "mmadapter").expanduser()


def assets_dir() -> Path:
    """The folder of the embedded backbones: inside a wheel, or beside the package in a clone."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "assets", package.parent / "assets") if folder.is_dir())


def embedded(name: str) -> Path | None:
    """The folder of an embedded backbone; None if there is none of this name."""
    folder = assets_dir() / name
    return folder if name and Path(name).name == name and folder.is_dir() else None


def published_file() -> Path:
    """The file of published ScienceQA results with their sources: `eval/published.csv` in a clone."""
    package = Path(__file__).parents[1]
    return next(
        path for path in (package / "published.csv", package.parent / "eval" / "published.csv") if path.is_file()
    )
