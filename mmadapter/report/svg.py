"""SVG elements as escaped text, and a plot's frame with axes.

A drawing names no colour: its marks have classes (`s0`, `s1`, ... for the systems), and `figures.css` colours them,
light or dark. Lengths are CSS pixels; a drawing of the report is at most `WIDTH` wide, so that a phone shows readable
text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

Number = int | float
WIDTH = 350
COLOURS = 6
"""Number of colours; a seventh system has that of the first."""
LETTER = 6.4
"""Mean width of a label's letter, in the widest of the fonts."""
STYLE = (Path(__file__).parent / "figures.css").read_text(encoding="utf-8")
"""The rules for every class that a drawing uses."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Write an element: `font_size=9` becomes `font-size="9"`, `class_` becomes `class`; None is left out."""
    written = Markup().join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup().join(escape(child) for child in children if child is not None)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def short(value: object) -> str:
    """Return a value as text, a number with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, Number) else str(value)


def drawing(width: Number, height: Number, label: str, *children: object) -> Markup:
    """Write a whole drawing for a page that has `STYLE`.

    Args:
        label: description for a reader who cannot see the drawing.
    """
    return _svg(width, height, label, *children, class_="figure")


def standalone(width: Number, height: Number, label: str, *children: object, scale: Number = 1) -> str:
    """Write a file: a drawing with its own style and background, which follows the reader's light or dark theme.

    Args:
        scale: pixels shown for each of the drawing's own.
    """
    paper = element("rect", width=width, height=height, rx=4, class_="paper")
    style = element("style", Markup(STYLE))
    return f"{_svg(width, height, label, style, paper, *children, scale=scale, xmlns='http://www.w3.org/2000/svg')}\n"


def _svg(width: Number, height: Number, label: str, *children: object, scale: Number = 1, **attributes: str) -> Markup:
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {short(width)} {short(height)}",
        width=scale * width,
        height=scale * height,
        role="img",
        aria_label=label,
        **attributes,
    )


def moved(x: Number, y: Number, *children: object) -> Markup:
    """Group drawings or elements whose origin is at (x, y)."""
    return element("g", *children, transform=f"translate({short(x)} {short(y)})")


def text(x: Number, y: Number, content: object, *, anchor: str = "start", class_: str = "tick") -> Markup:
    """Write a line of text; `y` is its baseline."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: Number, y1: Number, x2: Number, y2: Number, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def colour(index: int) -> str:
    """Return the class of the system with this index."""
    return f"s{index % COLOURS}"


def marker(index: int, x: Number, y: Number, size: Number, class_: str, tooltip: str | None = None) -> Markup:
    """Draw a system's mark; its shape identifies the system where colours cannot."""
    title = None if tooltip is None else element("title", tooltip)
    if index % 4 == 0:
        return element("circle", title, cx=x, cy=y, r=size, class_=class_)
    corners = _CORNERS[index % 4 - 1]
    points = [(x + size * across, y + size * down) for across, down in corners]
    return element("polygon", title, points=_points(points), class_=class_)


_CORNERS = (
    ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    ((0, -1.25), (1.25, 1), (-1.25, 1)),
)
"""Square, diamond, triangle."""


def polyline(points: Iterable[tuple[Number, Number]], class_: str) -> Markup:
    return element("polyline", points=_points(points), class_=class_)


def _points(points: Iterable[tuple[Number, Number]]) -> str:
    return " ".join(f"{short(x)},{short(y)}" for x, y in points)


def nice_ticks(low: Number, high: Number, about: int = 5) -> list[Number]:
    """Return round numbers from at most `low` to at least `high`, in about `about` steps."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / about
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Plot:
    """A rectangle inside a drawing and its linear scales, each from its first to its last tick."""

    x_ticks: Sequence[Number]
    y_ticks: Sequence[Number]
    width: Number = WIDTH
    height: Number = 250
    left: Number = 48
    right: Number = 12
    top: Number = 12
    bottom: Number = 38

    def x(self, value: Number) -> Number:
        low, high = self.x_ticks[0], self.x_ticks[-1]
        return self.left + (value - low) / (high - low) * (self.width - self.left - self.right)

    def y(self, value: Number) -> Number:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return self.height - self.bottom - (value - low) / (high - low) * (self.height - self.top - self.bottom)

    def axes(self, x_title: str, y_title: str, *, y_labels: Sequence[str] | None = None) -> Markup:
        """Draw both axes: a grid of faint lines, ticks, titles; `y_labels` replace the numbers of the y ticks."""
        base, end = self.height - self.bottom, self.width - self.right
        labels = y_labels or [format(t, "g") for t in self.y_ticks]
        parts = [line(self.left, self.y(t), end, self.y(t), "grid") for t in self.y_ticks]
        parts += [
            text(self.left - 6, self.y(t) + 3.5, label, anchor="end")
            for t, label in zip(self.y_ticks, labels, strict=True)
        ]
        parts += [line(self.x(t), base, self.x(t), base + 4, "axis") for t in self.x_ticks]
        parts += [text(self.x(t), base + 15, format(t, "g"), anchor="middle") for t in self.x_ticks]
        parts.append(line(self.left, base, end, base, "axis"))
        parts.append(text((self.left + end) / 2, self.height - 5, x_title, anchor="middle", class_="title"))
        return Markup().join([*parts, side_title(11, (self.top + base) / 2, y_title)])


def side_title(x: Number, y: Number, content: str) -> Markup:
    """Write the title of a vertical axis, centred on (x, y)."""
    turned = f"translate({short(x)} {short(y)}) rotate(-90)"
    return element("text", content, transform=turned, text_anchor="middle", class_="title")
