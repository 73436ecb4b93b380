"""Social science: maps, trade, colonies, prices, capitals, goods and services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from eval.demo.drawing import INK, Pen, Point, Scene, Units, ring, shade
from eval.demo.family import Draft, DraftFunction, others, with_article
from eval.demo.words import CAPITALS, COLORS, GOODS, ITEMS, NAMES, PLACES, SERVICES

TOWNS = tuple(f"the {color} town" for color in COLORS)
REASONS = ("farming", "fishing", "trade", "mining", "religious freedom", "new land", "lumber", "shelter")
PRICES = ("go up", "go down", "stay the same")
SEA, LAND = "#cfe4f1", "#efe6cf"
PROVINCES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir")
_BORDERS: tuple[tuple[Point, ...], ...] = (
    ((10, 30), (22, 12), (42, 6), (46, 26), (38, 42), (14, 46)),
    ((42, 6), (64, 4), (86, 14), (74, 36), (46, 26)),
    ((86, 14), (97, 36), (92, 58), (66, 56), (74, 36)),
    ((46, 26), (74, 36), (66, 56), (52, 64), (38, 42)),
    ((14, 46), (38, 42), (52, 64), (44, 92), (24, 84), (6, 64)),
    ((52, 64), (66, 56), (92, 58), (84, 80), (62, 97), (44, 92)),
)
"""Corners of each province on a 0-100 square; neighbours share them."""


@dataclass(frozen=True)
class ProvinceMap(Scene):
    """The island of six provinces, one of them highlighted."""

    province: int
    """Index into `PROVINCES`."""
    color: str

    def paint(self, pen: Pen, rng: Random) -> None:
        pen.rect(0, 0, 128, 128, shade(rng, SEA, 6), None)
        x, y, scale, land = rng.uniform(8, 16), rng.uniform(8, 16), rng.uniform(1.0, 1.05), shade(rng, LAND, 6)
        for index, border in enumerate(_BORDERS):
            fill = COLORS[self.color] if index == self.province else land
            pen.polygon([(x + scale * px, y + scale * py) for px, py in border], fill, "#7a7260")


@dataclass(frozen=True)
class TownMap(Scene):
    """A coast with four towns and a compass rose."""

    towns: tuple[tuple[str, Units, Units], ...]
    """Color, x, y in units, drawn in this order; the smallest y lies farthest north."""

    def paint(self, pen: Pen, rng: Random) -> None:
        pen.rect(0, 0, 128, 128, shade(rng, SEA, 6), None)
        coast = ring(60, 66, [rng.uniform(54, 62) for _ in range(18)])
        pen.polygon(coast, shade(rng, LAND, 6), "#7a7260")
        for color, x, y in self.towns:
            pen.dot(x, y, 6.5, COLORS[color])
        x, y = 115, 18
        pen.arrow((x, y + 9), (x, y - 8), INK, 1.5, 5)
        pen.line([(x - 7, y + 1), (x + 7, y + 1)])
        pen.text(x, y + 15, "N", 9)


def _province(rng: Random, value: str) -> Draft:
    color = rng.choice(("red", "blue", "green", "purple", "orange"))
    return Draft(
        question=f"{rng.choice(NAMES)} from {rng.choice(PLACES)} painted one province of the island. "
        "Which province is highlighted?",
        solution=f"This province is {value}.",
        caption=f"A map of the island with {value} in {color}.",
        scene=ProvinceMap(PROVINCES.index(value), color),
    )


def _north(rng: Random, value: str) -> Draft:
    wrong = others(rng, TOWNS, value, 3)
    # At least 14 units between two towns' latitudes; where they lie from west to east tells nothing.
    heights = [rng.uniform(22, 34)]
    for _ in wrong:
        heights.append(heights[-1] + rng.uniform(14, 22))
    widths = rng.sample((28, 48, 68, 88), 4)
    colors = [town.split()[1] for town in (value, *wrong)]
    towns = [(color, x + rng.uniform(-5, 5), y) for color, x, y in zip(colors, widths, heights, strict=True)]
    rng.shuffle(towns)
    return Draft(
        question=f"{rng.choice(NAMES)} travels from {rng.choice(PLACES)}. "
        "Which of these places on the map lies farthest north?",
        others=wrong,
        solution=f"North is up. {value.capitalize()} is nearest to the upper edge.",
        caption=f"A map with, from north to south, the {', '.join(colors[:3])} and {colors[3]} town.",
        scene=TownMap(tuple(towns)),
    )


def _trade(rng: Random, value: str) -> Draft:
    first, second = rng.sample(NAMES, 2)
    wanted, offered, other = (with_article(item) for item in (value, *others(rng, ITEMS, value, 2)))
    sentences = [f"{first} has {offered} and wants {wanted}.", f"{second} has {wanted} and wants {offered}."]
    rng.shuffle(sentences)
    return Draft(
        hint=" ".join(sentences),
        question=f"What does {first} get from the trade?",
        answer=wanted,
        others=(offered, other),
        solution=f"{second} has {wanted}, and {first} wants it.",
    )


def _colony(rng: Random, value: str) -> Draft:
    reasons, (place, other) = others(rng, REASONS, value, 3), rng.sample(PLACES, 2)
    sentences = [f"Settlers came to {place} for {value}.", f"Settlers came to {other} for {reasons[0]}."]
    rng.shuffle(sentences)
    return Draft(
        hint=" ".join(sentences),
        question=f"What brought settlers to {place}?",
        others=reasons,
        solution=f"{value.capitalize()} brought settlers to {place}.",
    )


def _price(rng: Random, value: str) -> Draft:
    goods = rng.choice(("apples", "boots", "maps", "lamps", "eggs", "bikes", "hats"))
    change, than = {
        "go up": (("more people want", "fewer shops sell"), "than"),
        "go down": (("fewer people want", "more shops sell"), "than"),
        "stay the same": (("as many people want", "as many shops sell"), "as"),
    }[value]
    time = rng.choice(("this year", "this month", "this week", "now"))
    return Draft(
        hint=f"In {rng.choice(PLACES)} {rng.choice(change)} {goods} {time} {than} before.",
        question=f"What will the price of {goods} probably do?",
        solution="Prices rise when demand grows or supply falls, and fall when demand falls or supply grows.",
    )


def _capital(rng: Random, value: str) -> Draft:
    return Draft(
        question=f"What is the capital of {value}?",
        answer=CAPITALS[value],
        others=others(rng, CAPITALS.values(), CAPITALS[value], 3),
        solution=f"{CAPITALS[value]} is the capital of {value}.",
    )


def _service(rng: Random, value: str) -> Draft:
    kind, wrong = ("good", SERVICES) if value in GOODS else ("service", GOODS)
    return Draft(
        question=f"Which of these is a {kind}?",
        others=rng.sample(wrong, 2),
        solution="A good can be touched and kept; a service is work that somebody does for somebody.",
    )


DRAFTS: dict[str, tuple[DraftFunction, Sequence[str]]] = {
    "farthest north": (_north, TOWNS),
    "provinces": (_province, PROVINCES),
    "trade": (_trade, ITEMS),
    "colonies": (_colony, REASONS),
    "prices": (_price, PRICES),
    "capitals": (_capital, tuple(CAPITALS)),
    "goods and services": (_service, GOODS + SERVICES),
}
"""Function and values of each family, by its name in `families.csv`."""
