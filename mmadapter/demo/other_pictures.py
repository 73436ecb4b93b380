"""The pictures of the social and language science families: maps and a Venn diagram."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from mmadapter.demo import words
from mmadapter.demo.drawing import INK, Pen, Point, Units, ring, shade

SEA, LAND = "#cfe4f1", "#efe6cf"

PROVINCES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir")
"""The provinces of the island, in the order of `_BORDERS`."""

# Corners on a 0-100 square: neighbours share them.
_BORDERS: tuple[tuple[Point, ...], ...] = (
    ((10, 30), (22, 12), (42, 6), (46, 26), (38, 42), (14, 46)),
    ((42, 6), (64, 4), (86, 14), (74, 36), (46, 26)),
    ((86, 14), (97, 36), (92, 58), (66, 56), (74, 36)),
    ((46, 26), (74, 36), (66, 56), (52, 64), (38, 42)),
    ((14, 46), (38, 42), (52, 64), (44, 92), (24, 84), (6, 64)),
    ((52, 64), (66, 56), (92, 58), (84, 80), (62, 97), (44, 92)),
)


@dataclass(frozen=True)
class ProvinceMap:
    """The island of six provinces, one of them highlighted."""

    province: int
    """Index into `PROVINCES`."""
    color: str
    seed: int

    def paint(self, pen: Pen, rng: Random) -> None:
        pen.rect(0, 0, 128, 128, shade(rng, SEA, 6), None)
        x, y, scale, land = rng.uniform(8, 16), rng.uniform(8, 16), rng.uniform(1.0, 1.05), shade(rng, LAND, 6)
        for index, border in enumerate(_BORDERS):
            fill = words.COLORS[self.color] if index == self.province else land
            pen.polygon([(x + scale * px, y + scale * py) for px, py in border], fill, "#7a7260")


@dataclass(frozen=True)
class TownMap:
    """A coast with four towns and a compass rose."""

    towns: tuple[tuple[str, Units, Units], ...]
    """Color, x, y in units, drawn in this order; the smallest y lies farthest north."""
    seed: int

    def paint(self, pen: Pen, rng: Random) -> None:
        pen.rect(0, 0, 128, 128, shade(rng, SEA, 6), None)
        coast = ring(60, 66, [rng.uniform(54, 62) for _ in range(18)])
        pen.polygon(coast, shade(rng, LAND, 6), "#7a7260")
        for color, x, y in self.towns:
            pen.dot(x, y, 6.5, words.COLORS[color])
        x, y = 115, 18
        pen.arrow((x, y + 9), (x, y - 8), INK, 1.5, 5)
        pen.line([(x - 7, y + 1), (x + 7, y + 1)])
        pen.text(x, y + 15, "N", 9)


@dataclass(frozen=True)
class Venn:
    """Two circles that overlap, and a star."""

    zone: str
    """Place of the star: left, right, both or outside."""
    colors: tuple[str, str]
    seed: int

    def paint(self, pen: Pen, rng: Random) -> None:
        x, y, radius = rng.uniform(62, 66), rng.uniform(62, 78), rng.uniform(33, 36)
        offset = radius * 0.62
        for side, color in zip((-1, 1), self.colors, strict=True):
            pen.dot(x + side * offset, y, radius, _pale(words.COLORS[color]), None)
        lens = math.acos(offset / radius)  # half the angle under which a circle sees the overlap
        right = [(x - offset + radius * math.cos(a), y + radius * math.sin(a)) for a in _arc(-lens, lens)]
        left = [(x + offset - radius * math.cos(a), y - radius * math.sin(a)) for a in _arc(-lens, lens)]
        pen.polygon(right + left, "#e8e0e8", None)
        for side in (-1, 1):
            pen.ellipse(x + side * offset, y, radius, radius, None)
        sx, sy = {
            "left": (x - 1.05 * radius, y),
            "right": (x + 1.05 * radius, y),
            "both": (x, y),
            "outside": (rng.uniform(20, 108), 13),
        }[self.zone]
        pen.polygon(ring(sx, sy + rng.uniform(-4, 4), [8 if i % 2 == 0 else 3.3 for i in range(10)], -math.pi / 2), INK)


def _pale(color: str) -> str:
    return "#" + "".join(f"{(int(color[i : i + 2], 16) + 2 * 255) // 3:02x}" for i in (1, 3, 5))


def _arc(start: float, end: float) -> list[float]:
    return [start + (end - start) * i / 20 for i in range(21)]
