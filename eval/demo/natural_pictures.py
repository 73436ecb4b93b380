"""The pictures of the natural science families."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from eval.demo.drawing import INK, Pen, Point, Scene, ring, shade
from eval.demo.organisms import PAINTERS
from eval.demo.words import COLORS

NORTH_POLE, SOUTH_POLE = "#d8453c", "#3f6fd1"


@dataclass(frozen=True)
class Magnets(Scene):
    """Two bar magnets in a row."""

    poles: str
    """The two that face each other, left magnet first: "NS"."""

    def paint(self, pen: Pen, rng: Random) -> None:
        y, height, gap = rng.uniform(44, 84), rng.uniform(20, 30), rng.uniform(8, 16)
        middle, length = rng.uniform(62, 66), rng.uniform(48, 52)
        left, right = tuple(self.poles)
        opposite = {"N": "S", "S": "N"}
        for pole, start in (
            (opposite[left], middle - gap / 2 - length),
            (left, middle - gap / 2 - length / 2),
            (right, middle + gap / 2),
            (opposite[right], middle + gap / 2 + length / 2),
        ):
            fill = shade(rng, NORTH_POLE if pole == "N" else SOUTH_POLE)
            pen.rect(start, y - height / 2, start + length / 2, y + height / 2, fill)
            pen.text(start + length / 4, y, pole, 13, "#ffffff")


@dataclass(frozen=True)
class Solutions(Scene):
    """Two beakers with equal volumes of solvent, and particles in them."""

    particles: tuple[int, int]
    """In beaker A and in beaker B."""
    color: str

    def paint(self, pen: Pen, rng: Random) -> None:
        water, top = shade(rng, "#cfe8f5", 6), rng.uniform(26, 34)
        for x, letter, count in zip((34, 94), "AB", self.particles, strict=True):
            pen.rect(x - 25, top + 14, x + 25, 104, water, None)
            pen.line([(x - 25, top), (x - 25, 104), (x + 25, 104), (x + 25, top)], INK, 2)
            pen.line([(x - 25, top + 14), (x + 25, top + 14)], "#7aa7c0")
            cells = [(x - 18 + 12 * i, top + 23 + 13 * j) for i in range(4) for j in range(4)]
            for cx, cy in rng.sample(cells, count):
                pen.dot(cx + rng.uniform(-2, 2), cy + rng.uniform(-2, 2), 4.6, COLORS[self.color])
            pen.text(x, 115, letter, 13)


@dataclass(frozen=True)
class Thermometer(Scene):
    """A thermometer from 0 to 70 degrees Celsius."""

    degrees: int
    color: str

    def paint(self, pen: Pen, rng: Random) -> None:
        x, bottom, step = rng.uniform(54, 72), rng.uniform(102, 106), rng.uniform(11, 11.7)
        level, fill = bottom - 12 - step * self.degrees / 10, COLORS[self.color]
        pen.rect(x - 6, bottom - 12 - step * 7.4, x + 6, bottom, "#ffffff")
        pen.dot(x, bottom + 6, 13, fill)
        pen.rect(x - 5, level, x + 5, bottom + 4, fill, None)
        for tens in range(8):
            y = bottom - 12 - step * tens
            pen.line([(x + 7, y), (x + 14, y)])
            pen.text(x + 26, y, f"{10 * tens}°", 9)
        pen.text(x - 22, bottom - 12 - step * 6.6, "°C", 13)


@dataclass(frozen=True)
class Punnett(Scene):
    """A Punnett square: the first parent's alleles on top, the second's at the left."""

    parents: tuple[str, str]
    """Genotypes: ("Ff", "ff")."""
    shown: str
    """Which phenotype is painted: "dominant" or "recessive"."""
    color: str

    def paint(self, pen: Pen, rng: Random) -> None:
        x, y, side = rng.uniform(30, 36), rng.uniform(28, 34), rng.uniform(40, 43)
        for i, upper in enumerate(self.parents[0]):
            pen.text(x + side * (i + 0.5), y - 11, upper, 14)
            for j, lower in enumerate(self.parents[1]):
                cell = "".join(sorted(upper + lower))  # capitals sort first
                dominant = cell[0].isupper()
                fill = COLORS[self.color] if dominant == (self.shown == "dominant") else "#f7f3ea"
                box = x + side * i, y + side * j, x + side * (i + 1), y + side * (j + 1)
                pen.rect(*box, fill)
                pen.text(box[0] + side / 2, box[1] + side / 2, cell, 15)
        for j, lower in enumerate(self.parents[1]):
            pen.text(x - 12, y + side * (j + 0.5), lower, 14)


@dataclass(frozen=True)
class FoodChain(Scene):
    """Three organisms one above the other; an arrow points from what is eaten to what eats it."""

    organisms: tuple[str, str, str]
    """The top predator first."""

    def paint(self, pen: Pen, rng: Random) -> None:
        x = rng.uniform(52, 76)
        for y, organism in zip((24, 66, 108), self.organisms, strict=True):
            pen.ellipse(x, y, 44, 16.5, shade(rng, "#e9f2df", 6), "#9db08a")
            PAINTERS[organism](pen, x + rng.uniform(-8, 8), y)
        for start, end in ((91.5, 83), (49.5, 41)):
            pen.arrow((x, start), (x, end), INK, 2, 6)


@dataclass(frozen=True)
class Moon(Scene):
    """The moon over a landscape, as the northern hemisphere sees it."""

    phase: int
    """Eighths of a cycle after new moon: 0 new, 2 first quarter, 4 full, 6 last quarter."""
    land: str
    """hills, roofs or sea."""

    def paint(self, pen: Pen, rng: Random) -> None:
        pen.rect(0, 0, 128, 128, shade(rng, "#141b3a", 8), None)
        x, y, radius = rng.uniform(50, 78), rng.uniform(42, 54), rng.uniform(27, 33)
        for _ in range(14):
            sx, sy = rng.uniform(3, 125), rng.uniform(3, 95)
            if math.hypot(sx - x, sy - y) > radius + 3:
                pen.dot(sx, sy, rng.uniform(0.5, 1.1), "#f4f1d8", None)
        pen.dot(x, y, radius, "#3a4060", None)
        # The lit part lies between the bright limb and the terminator, half an ellipse.
        limb, width = (1 if self.phase <= 4 else -1), math.cos(self.phase * math.pi / 4)
        angles = [math.pi * (i / 40 - 0.5) for i in range(41)]
        bright = [(x + limb * radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        dark = [(x + limb * width * radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        if self.phase:
            pen.polygon(bright + dark[::-1], "#f3ecc8", None)
        _LANDS[self.land](pen, rng)


def _hills(pen: Pen, rng: Random) -> None:
    for x in (rng.uniform(5, 35), rng.uniform(90, 120)):
        pen.ellipse(x, 132, rng.uniform(50, 70), rng.uniform(22, 30), "#1f3a2c", None)


def _roofs(pen: Pen, rng: Random) -> None:
    for x in range(-4, 128, 26):
        y = rng.uniform(104, 112)
        pen.polygon([(x, 128), (x, y), (x + 12, y - 10), (x + 24, y), (x + 24, 128)], "#4a2f2f", None)
        pen.rect(x + 9, y + 4, x + 15, y + 10, "#ffd877", None)


def _sea(pen: Pen, rng: Random) -> None:
    pen.rect(0, 104, 128, 128, "#23508a", None)
    for y in (110, 116, 122):
        x = rng.uniform(4, 60)
        pen.line([(x, y), (x + rng.uniform(30, 60), y)], "#6f9bd0", 1.5)


_LANDS = {"hills": _hills, "roofs": _roofs, "sea": _sea}


@dataclass(frozen=True)
class Rainfall(Scene):
    """A bar chart of the rain in six months."""

    millimeters: tuple[int, ...]
    """January to June, 0 to 100."""
    color: str

    def paint(self, pen: Pen, rng: Random) -> None:
        left, bottom, step = rng.uniform(17, 22), rng.uniform(104, 109), rng.uniform(16, 17)
        for mark in (25, 50, 75, 100):
            y = bottom - 0.9 * mark
            pen.line([(left, y), (left + 6 * step + 3, y)], "#d0d0d0")
            pen.text(left - 9, y, str(mark), 7)
        for i, (rain, letter) in enumerate(zip(self.millimeters, "JFMAMJ", strict=True)):
            x = left + 4 + step * i
            pen.rect(x, bottom - 0.9 * rain, x + step * 0.72, bottom, COLORS[self.color])
            pen.text(x + step * 0.36, bottom + 9, letter, 10)
        pen.line([(left, 10), (left, bottom), (left + 6 * step + 3, bottom)], INK, 1.5)


@dataclass(frozen=True)
class Leaf(Scene):
    """One leaf on a page."""

    shape: str
    """A key of `LEAF_SHAPES`."""
    tint: str
    """A key of `LEAF_TINTS`."""

    def paint(self, pen: Pen, rng: Random) -> None:
        x, y, scale, turn = rng.uniform(60, 68), rng.uniform(54, 60), rng.uniform(0.88, 1.0), rng.uniform(-0.3, 0.3)
        fill = shade(rng, LEAF_TINTS[self.tint], 10)

        def place(point: Point) -> Point:
            px, py = scale * point[0], scale * point[1]
            return x + px * math.cos(turn) - py * math.sin(turn), y + px * math.sin(turn) + py * math.cos(turn)

        outline = LEAF_SHAPES[self.shape]
        bottom = max(py for px, py in outline if abs(px) < 6)
        pen.line([place((0, bottom - 4)), place((0, 62))], "#6b4f2a", 3)
        pen.polygon([place(point) for point in outline], fill, "#24481f")
        pen.line([place((0, bottom - 3)), place((0, bottom - 30))], "#24481f", 1.2)


LEAF_TINTS = {"green": "#4f9b45", "red": "#bf4a32", "yellow": "#d9b53a", "brown": "#8f6a3e"}

LEAF_SHAPES: dict[str, list[Point]] = {
    "round": ring(0, 0, [38] * 48),
    "oval": [(23 * math.cos(a), 46 * math.sin(a)) for a in (math.tau * i / 48 for i in range(48))],
    "heart-shaped": [
        (2.5 * 16 * math.sin(a) ** 3, -2.6 * (13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a)))
        for a in (math.tau * i / 64 for i in range(64))
    ],
    "needle-like": [(0, -50), (4.5, -20), (4.5, 30), (0, 48), (-4.5, 30), (-4.5, -20)],
    "star-shaped": ring(0, 0, [48 if i % 2 == 0 else 17 for i in range(10)], -math.pi / 2),
    "fan-shaped": [(0, 46), *[(52 * math.cos(a), 30 + 62 * math.sin(a)) for a in
                              (math.pi * (1.15 + 0.7 * i / 24) for i in range(25))]],
}  # fmt: skip
