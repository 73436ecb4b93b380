"""Drawing with Pillow: a pen with soft edges, and a scene as a picture.

Coordinates lie in a square of 128 x 128 units, whatever the size of the picture; y points down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIZE = 128
"""Pixels of a side, and units of a side."""

OVERSAMPLING = 3
"""Pictures are drawn larger and then reduced, because Pillow's shapes have hard edges."""

INK = "#2b2b33"

Units = int | float
Point = tuple[Units, Units]


@dataclass(frozen=True)
class Scene:
    """The parameters of one picture."""

    seed: int = field(default=0, kw_only=True)
    """Determines all that no sentence mentions: exact places, shades, sizes."""

    def paint(self, pen: Pen, rng: Random) -> None:
        """Draw onto a page of plain paper; `rng` comes from `seed`."""
        raise NotImplementedError


class Pen:
    """Shapes on a page, in units."""

    def __init__(self, paper: str = "#ffffff") -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", (SIZE * OVERSAMPLING,) * 2, paper)
        self._draw = ImageDraw.Draw(self.image)

    def rect(self, x0: Units, y0: Units, x1: Units, y1: Units, fill: str, edge: str | None = INK) -> None:
        self._draw.rectangle(_scaled([(x0, y0), (x1, y1)]), fill, edge, OVERSAMPLING if edge else 0)

    def ellipse(self, x: Units, y: Units, rx: Units, ry: Units, fill: str | None, edge: str | None = INK) -> None:
        """Draw an ellipse around (x, y)."""
        self._draw.ellipse(_scaled([(x - rx, y - ry), (x + rx, y + ry)]), fill, edge, OVERSAMPLING if edge else 0)

    def dot(self, x: Units, y: Units, radius: Units, fill: str, edge: str | None = INK) -> None:
        self.ellipse(x, y, radius, radius, fill, edge)

    def polygon(self, points: Sequence[Point], fill: str, edge: str | None = INK) -> None:
        self._draw.polygon(_scaled(points), fill)
        if edge:
            self.line([*points, points[0]], edge)

    def line(self, points: Sequence[Point], fill: str = INK, width: Units = 1) -> None:
        self._draw.line(_scaled(points), fill, round(width * OVERSAMPLING), joint="curve")

    def arrow(self, start: Point, end: Point, fill: str = INK, width: Units = 1.5, head: Units = 5) -> None:
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        self.line([start, (end[0] - head * math.cos(angle), end[1] - head * math.sin(angle))], fill, width)
        wings = [(end[0] - head * math.cos(angle + a), end[1] - head * math.sin(angle + a)) for a in (-0.5, 0.5)]
        self.polygon([end, *wings], fill, None)

    def text(self, x: Units, y: Units, text: str, size: Units = 10, fill: str = INK) -> None:
        """Centre text on (x, y), in the font that comes with Pillow."""
        from PIL import ImageFont

        font = ImageFont.load_default(size * OVERSAMPLING)
        self._draw.text((x * OVERSAMPLING, y * OVERSAMPLING), text, fill, font, anchor="mm")


def draw(scene: Scene) -> Image:
    """Draw a scene in RGB, 128 x 128 pixels; equal scenes give equal pixels."""
    from PIL import Image

    rng = Random(scene.seed)
    pen = Pen(paper=f"#{rng.randint(246, 255):02x}{rng.randint(246, 255):02x}{rng.randint(240, 255):02x}")
    scene.paint(pen, rng)
    return pen.image.resize((SIZE, SIZE), Image.Resampling.BOX)


def shade(rng: Random, color: str, spread: int = 14) -> str:
    """Return a random color close to `color` ("#rrggbb")."""
    channels = (int(color[i : i + 2], 16) + rng.randint(-spread, spread) for i in (1, 3, 5))
    return "#" + "".join(f"{min(255, max(0, channel)):02x}" for channel in channels)


def ring(x: Units, y: Units, radii: Sequence[Units], turn: Units = 0) -> list[Point]:
    """Return points around (x, y) at these distances, at even angles from `turn` (radians) on."""
    angles = [turn + 2 * math.pi * i / len(radii) for i in range(len(radii))]
    return [(x + r * math.cos(a), y + r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
