"""Social science: maps, trade, colonies, prices, capitals, goods and services."""

from __future__ import annotations

from random import Random

from mmadapter.demo import words
from mmadapter.demo.family import Draft, families, fresh_seed, names, others, with_article
from mmadapter.demo.other_pictures import PROVINCES, ProvinceMap, TownMap

TOWNS = tuple(f"the {color} town" for color in words.COLORS)
ITEMS = words.listed("apple pear plum sandwich cookie banana muffin carrot pretzel orange yogurt bagel peach salad")
REASONS = ("farming", "fishing", "trade", "mining", "religious freedom", "new land", "lumber", "shelter")
PRICES = ("go up", "go down", "stay the same")


def _province(rng: Random, value: str) -> Draft:
    color = rng.choice(("red", "blue", "green", "purple", "orange"))
    return Draft(
        question=f"{names(rng, 1)[0]} from {rng.choice(words.PLACES)} painted one province of the island. "
        "Which province is highlighted?",
        answer=value,
        others=others(rng, PROVINCES, value, 3),
        solution=f"This province is {value}.",
        caption=f"A map of the island with {value} in {color}.",
        scene=ProvinceMap(PROVINCES.index(value), color, fresh_seed(rng)),
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
        question=f"{names(rng, 1)[0]} travels from {rng.choice(words.PLACES)}. "
        "Which of these places on the map lies farthest north?",
        answer=value,
        others=wrong,
        solution=f"North is up. {value.capitalize()} is nearest to the upper edge.",
        caption=f"A map with, from north to south, the {', '.join(colors[:3])} and {colors[3]} town.",
        scene=TownMap(tuple(towns), fresh_seed(rng)),
    )


def _trade(rng: Random, value: str) -> Draft:
    (first, second) = names(rng, 2)
    value, own, third = (with_article(item) for item in (value, *others(rng, ITEMS, value, 2)))
    sentences = [f"{first} has {own} and wants {value}.", f"{second} has {value} and wants {own}."]
    rng.shuffle(sentences)
    return Draft(
        hint=" ".join(sentences),
        question=f"What does {first} get from the trade?",
        answer=value,
        others=(own, third),
        solution=f"{second} has {value}, and {first} wants it.",
    )


def _colony(rng: Random, value: str) -> Draft:
    reasons, (place, other) = others(rng, REASONS, value, 3), rng.sample(words.PLACES, 2)
    sentences = [f"Settlers came to {place} for {value}.", f"Settlers came to {other} for {reasons[0]}."]
    rng.shuffle(sentences)
    return Draft(
        hint=" ".join(sentences),
        question=f"What brought settlers to {place}?",
        answer=value,
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
        hint=f"In {rng.choice(words.PLACES)} {rng.choice(change)} {goods} {time} {than} before.",
        question=f"What will the price of {goods} probably do?",
        answer=value,
        others=others(rng, PRICES, value, 2),
        solution="Prices rise when demand grows or supply falls, and fall when demand falls or supply grows.",
    )


def _capital(rng: Random, value: str) -> Draft:
    return Draft(
        question=f"What is the capital of {value}?",
        answer=words.CAPITALS[value],
        others=others(rng, tuple(words.CAPITALS.values()), words.CAPITALS[value], 3),
        solution=f"{words.CAPITALS[value]} is the capital of {value}.",
    )


def _service(rng: Random, value: str) -> Draft:
    kind, wrong = ("good", words.SERVICES) if value in words.GOODS else ("service", words.GOODS)
    return Draft(
        question=f"Which of these is a {kind}?",
        answer=value,
        others=rng.sample(wrong, 2),
        solution="A good can be touched and kept; a service is work that somebody does for somebody.",
    )


FAMILIES = families(
    {
        "provinces": (_province, PROVINCES),
        "farthest north": (_north, TOWNS),
        "trade": (_trade, tuple(ITEMS)),
        "colonies": (_colony, REASONS),
        "prices": (_price, PRICES),
        "capitals": (_capital, tuple(words.CAPITALS)),
        "goods and services": (_service, words.GOODS + words.SERVICES),
    }
)
FARTHEST_NORTH = next(family for family in FAMILIES if family.name == "farthest north")
"""The hard family: from one global image feature the answer needs four bindings of color to place."""
