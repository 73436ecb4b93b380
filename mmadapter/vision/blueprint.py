"""What is known about an image tower before its weights are loaded."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.storage.untrusted import short

MAX_SIDE = 4096
"""Largest side of a tower's input, in pixels; 224 to 512 are usual."""
MAX_TOWER_LAYERS = 1024
"""Most layers that are built; the largest towers have 56."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A tower whose weights are not loaded."""

    skeleton: nn.Module
    """Its structure on the meta device."""
    image_size: tuple[int, int]
    """Height and width of its input."""
    preprocess: Callable[[Image.Image], Tensor]
    description: Mapping[str, Any]
    """Everything but the weights that decides its features, as JSON without names."""
    weights: tuple[Path, ...]
    load: Callable[[], nn.Module]
    """Load the tower with its weights, float32 on the CPU."""
    features: Callable[[nn.Module, Tensor], list[Tensor]]
    """Compute the global features I_1 .. I_M with the tower or its skeleton."""


def check_size(where: str, image_size: object, layers: object) -> None:
    """Check the sizes that a configuration claims, before anything is built. Both may be lists."""
    sides, depths = (value if isinstance(value, (list, tuple)) else [value] for value in (image_size, layers))
    if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise UserError(f"{where}: takes images of {short(image_size)}: a side has 1 to {MAX_SIDE:,} pixels")
    if not all(isinstance(depth, int) for depth in depths) or not 1 <= sum(depths) <= MAX_TOWER_LAYERS:
        raise UserError(f"{where}: has {short(layers)} layers: at most {MAX_TOWER_LAYERS:,} are built")


def probe(image_size: tuple[int, int]) -> Float[Tensor, "1 3 H W"]:
    """An image without values, for a skeleton."""
    return torch.empty(1, 3, *image_size, device="meta")


@contextlib.contextmanager
def quiet_logger(logger: str | None) -> Iterator[None]:
    """Silence a library's expected warnings.

    open_clip (root logger) warns that a model without weights is random, transformers that an image tower has no use
    for a text tower's weights. The handler keeps `logging.warning` from configuring the user's logging.
    """
    quiet, handler = logging.getLogger(logger), logging.NullHandler()
    level = quiet.level
    quiet.addHandler(handler)
    quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        quiet.setLevel(level)
        quiet.removeHandler(handler)


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
