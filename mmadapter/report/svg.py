"""Drawing: SVG elements as escaped text, and a plot's frame with axes.

No colour is written into a drawing: marks have classes (`s0`, `s1`, ... for the systems) and the page's style
colours them, in light and dark alike. Lengths are CSS pixels at full size; a drawing is at most `WIDTH` wide, so
that a phone shows it with readable text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Number = int | float
WIDTH = 350
COLOURS = 6
"""How many systems have a colour of their own; a seventh shares that of the first."""


def element(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `font_size=9` becomes `font-size="9"`, `class_` is class, numbers get two decimals at most."""
    written = Markup().join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), short(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup().join(escape(child) for child in children if child is not None)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def short(value: object) -> str:
    """A number without digits nobody sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, Number) else str(value)


def drawing(width: Number, height: Number, label: str, *children: object) -> Markup:
    """A whole drawing.

    Args:
        label: what somebody who does not see it is told.
    """
    box = f"0 0 {short(width)} {short(height)}"
    return element(
        "svg", *children, viewBox=box, width=width, height=height, role="img", aria_label=label, class_="figure"
    )


def text(x: Number, y: Number, content: object, *, anchor: str = "start", class_: str = "tick") -> Markup:
    """A line of text; `y` is its baseline."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: Number, y1: Number, x2: Number, y2: Number, class_: str) -> Markup:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def colour(index: int) -> str:
    """The class of the system at this place."""
    return f"s{index % COLOURS}"


def marker(index: int, x: Number, y: Number, size: Number, class_: str, told: str | None = None) -> Markup:
    """A system's mark: its shape tells it apart where colours cannot."""
    title = None if told is None else element("title", told)
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
    """Round numbers from at most `low` to at least `high`, some `about` steps apart."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / about
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Plot:
    """A rectangle of data inside a drawing, with its scales; the ticks' ends are the data's."""

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

    def axes(self, x_title: str, y_title: str, *, x_format: str = "g", y_format: str = "g") -> Markup:
        """Both axes: a grid of faint lines, ticks, titles."""
        base, end = self.height - self.bottom, self.width - self.right
        parts = [line(self.left, self.y(t), end, self.y(t), "grid") for t in self.y_ticks]
        parts += [text(self.left - 6, self.y(t) + 3.5, format(t, y_format), anchor="end") for t in self.y_ticks]
        parts += [line(self.x(t), base, self.x(t), base + 4, "axis") for t in self.x_ticks]
        parts += [text(self.x(t), base + 15, format(t, x_format), anchor="middle") for t in self.x_ticks]
        parts.append(line(self.left, base, end, base, "axis"))
        parts.append(text((self.left + end) / 2, self.height - 5, x_title, anchor="middle", class_="title"))
        parts.append(
            element(
                "text",
                y_title,
                transform=f"translate(11 {short((self.top + base) / 2)}) rotate(-90)",
                text_anchor="middle",
                class_="title",
            )
        )
        return Markup().join(parts)
