"""The organisms of the food chains, each painted about 40 x 24 units large around (x, y)."""

from __future__ import annotations

from collections.abc import Callable

from eval.demo.drawing import INK, Pen, Units


def _eyes(pen: Pen, x: Units, y: Units, apart: Units, size: Units = 1.4, iris: str = INK) -> None:
    for side in (-apart, apart):
        pen.dot(x + side, y, size, iris, None)


def fox(pen: Pen, x: Units, y: Units) -> None:
    for side in (-1, 1):
        pen.polygon([(x + side * 13, y - 13), (x + side * 3, y - 7), (x + side * 12, y - 2)], "#e07a2c")
    pen.polygon([(x - 14, y - 6), (x + 14, y - 6), (x, y + 13)], "#e07a2c")
    pen.polygon([(x - 7, y + 4), (x + 7, y + 4), (x, y + 13)], "#fff4e6", None)
    _eyes(pen, x, y - 1, 5)
    pen.dot(x, y + 11, 2, INK)


def owl(pen: Pen, x: Units, y: Units) -> None:
    pen.ellipse(x, y + 1, 11, 13, "#8d7f72")
    for side in (-5, 5):
        pen.dot(x + side, y - 4, 4.8, "#ffe9a3")
        pen.dot(x + side, y - 4, 2, INK)
    pen.polygon([(x - 2, y), (x + 2, y), (x, y + 5)], "#e69b2d")


def snake(pen: Pen, x: Units, y: Units) -> None:
    curve = [(x - 24, y + 6), (x - 16, y - 4), (x - 8, y + 6), (x, y - 4), (x + 8, y + 6), (x + 17, y - 4)]
    pen.line(curve, "#2f7d3b", 6)
    pen.ellipse(x + 20, y - 5, 6, 4, "#2f7d3b")
    pen.dot(x + 21, y - 6, 1, "#ffffff", None)
    pen.line([(x + 26, y - 5), (x + 30, y - 4)], "#c8322b", 1)


def hawk(pen: Pen, x: Units, y: Units) -> None:
    pen.polygon([(x - 30, y - 10), (x - 5, y - 4), (x - 5, y + 5), (x - 20, y + 3)], "#6e4a2b")
    pen.polygon([(x + 30, y - 10), (x + 5, y - 4), (x + 5, y + 5), (x + 20, y + 3)], "#6e4a2b")
    pen.polygon([(x - 6, y + 13), (x, y + 4), (x + 6, y + 13)], "#6e4a2b")
    pen.ellipse(x, y, 6, 10, "#a9784a")
    pen.polygon([(x - 2, y - 8), (x + 2, y - 8), (x, y - 13)], "#e3b51d")


def bear(pen: Pen, x: Units, y: Units) -> None:
    for side in (-9, 9):
        pen.dot(x + side, y - 9, 4, "#4f3524")
    pen.ellipse(x, y, 14, 13, "#4f3524")
    pen.ellipse(x, y + 5, 6, 5, "#c9a27c")
    _eyes(pen, x, y - 3, 5, 1.3, "#ffffff")
    pen.dot(x, y + 3, 1.8, INK)


def heron(pen: Pen, x: Units, y: Units) -> None:
    for leg in (-4, 2):
        pen.line([(x + leg, y + 4), (x + leg, y + 14)], "#c98a2c", 1.4)
    pen.ellipse(x - 3, y + 3, 13, 6, "#7f9fc4")
    pen.line([(x + 7, y + 2), (x + 13, y - 5), (x + 10, y - 11)], "#7f9fc4", 3)
    pen.dot(x + 10, y - 11, 3.4, "#7f9fc4")
    pen.polygon([(x + 13, y - 12), (x + 26, y - 9), (x + 13, y - 9)], "#e3b51d")


def mouse(pen: Pen, x: Units, y: Units) -> None:
    pen.line([(x - 12, y + 3), (x - 19, y + 5), (x - 25, y)], "#c98f8f", 1.4)
    pen.ellipse(x, y + 2, 13, 7, "#a8a4a0")
    pen.dot(x + 7, y - 4, 4, "#d9b3b3")
    pen.dot(x + 10, y + 1, 1.1, INK, None)


def frog(pen: Pen, x: Units, y: Units) -> None:
    pen.ellipse(x, y + 3, 13, 8, "#6fae3c")
    for side in (-6, 6):
        pen.dot(x + side, y - 5, 3.6, "#6fae3c")
        pen.dot(x + side, y - 5, 1.4, INK, None)
    pen.line([(x - 6, y + 4), (x, y + 6), (x + 6, y + 4)], INK, 1)


def rabbit(pen: Pen, x: Units, y: Units) -> None:
    for side in (-4, 4):
        pen.ellipse(x + side, y - 8, 2.6, 7, "#e4dcd2")
    pen.ellipse(x, y + 4, 10, 8, "#e4dcd2")
    _eyes(pen, x, y + 2, 4, 1.1)
    pen.dot(x, y + 6, 1.3, "#d98080", None)


def grass(pen: Pen, x: Units, y: Units) -> None:
    for offset in range(-20, 21, 5):
        pen.line([(x + offset, y + 10), (x + 1.25 * offset, y - 7 - offset % 3)], "#4f9b45", 2)


def berries(pen: Pen, x: Units, y: Units) -> None:
    pen.line([(x - 20, y - 8), (x, y - 9), (x + 20, y - 8)], "#5b4a2c", 1.6)
    for offset in (-16, -6, 5, 15):
        pen.line([(x + offset, y - 8), (x + offset, y + 2)], "#5b4a2c", 1)
        pen.dot(x + offset, y + 4, 5, "#b5305a")


def clover(pen: Pen, x: Units, y: Units) -> None:
    for offset in (-14, 0, 14):
        pen.line([(x + offset, y), (x + offset, y + 12)], "#3f7d38", 1.5)
        for dx, dy in ((-4, 0), (4, 0), (0, -6)):
            pen.dot(x + offset + dx, y - 2 + dy, 4, "#63b35a")


PAINTERS: dict[str, Callable[[Pen, Units, Units], None]] = {
    paint.__name__: paint for paint in (fox, owl, snake, hawk, bear, heron, mouse, frog, rabbit, grass, berries, clover)
}
"""By name: predators, their prey, and the plants that the prey eats."""
