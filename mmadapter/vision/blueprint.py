"""What `open_clip_towers` and `transformers_towers` share: the description of a tower whose weights are not loaded."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from mmadapter.errors import UserError
from mmadapter.storage.untrusted import short

MAX_SIDE = 4096
"""Most pixels along a side of a tower's input; 224 to 512 are usual."""
MAX_TOWER_LAYERS = 1024
"""Most layers of a tower; the largest have 56."""


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A tower of known structure whose weights are not loaded yet."""

    skeleton: nn.Module
    """The tower on the meta device."""
    image_size: tuple[int, int]
    """Height and width of its input."""
    preprocess: Callable[[Image.Image], Tensor]
    description: Mapping[str, Any]
    """Everything but the weights that its features depend on, without names; JSON."""
    weights: tuple[Path, ...]
    load: Callable[[], nn.Module]
    """Returns the tower with its weights, in float32 on the CPU; raises any exception if they do not fit."""
    features: Callable[[nn.Module, Tensor], list[Tensor]]
    """Computes the global features I_1 .. I_M of images with the tower or its skeleton."""


def check_size(where: str, image_size: object, layers: object) -> None:
    """Refuse a configuration that claims impossible sizes, before building it; both values may be lists."""
    sides, depths = (value if isinstance(value, (list, tuple)) else [value] for value in (image_size, layers))
    if not all(isinstance(side, int) and 1 <= side <= MAX_SIDE for side in sides):
        raise UserError(f"{where}: takes images of {short(image_size)}: a side has 1 to {MAX_SIDE:,} pixels")
    if not all(isinstance(depth, int) for depth in depths) or not 1 <= sum(depths) <= MAX_TOWER_LAYERS:
        raise UserError(f"{where}: has {short(layers)} layers: at most {MAX_TOWER_LAYERS:,} are built")


@contextlib.contextmanager
def quiet_logger(logger: str | None) -> Iterator[None]:
    """Silence warnings about what is intended: a random model (open_clip, on the root logger), and the unused weights
    of a text tower (transformers)."""
    quiet, handler = logging.getLogger(logger), logging.NullHandler()
    level = quiet.level
    quiet.addHandler(handler)  # otherwise `logging.warning` would configure the user's logging
    quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        quiet.setLevel(level)
        quiet.removeHandler(handler)


def first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
