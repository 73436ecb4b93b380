"""Natural science: magnets, solutions, thermometers, heredity, food chains, the moon, rain, leaves, and texts."""

from __future__ import annotations

from random import Random

from mmadapter.demo import words
from mmadapter.demo.family import Draft, families, fresh_seed, names, others, with_article
from mmadapter.demo.natural_pictures import (
    LEAF_SHAPES,
    LEAF_TINTS,
    FoodChain,
    Leaf,
    Magnets,
    Moon,
    Punnett,
    Rainfall,
    Solutions,
    Thermometer,
)

PULLS = ("attract", "repel")
CONCENTRATIONS = ("solution A", "solution B", "neither; they are the same")
READINGS = tuple(f"{degrees}°C" for degrees in range(10, 70, 10))
PROBABILITIES = ("0/4", "1/4", "2/4", "3/4", "4/4")
PREDATORS = ("fox", "owl", "snake", "hawk", "bear", "heron")
PREY = ("mouse", "frog", "rabbit")
PLANTS = ("grass", "berries", "clover")
PHASES = (
    "new moon", "waxing crescent", "first quarter", "waxing gibbous",
    "full moon", "waning gibbous", "last quarter", "waning crescent",
)  # fmt: skip
MONTHS = ("January", "February", "March", "April", "May", "June")


def _magnets(rng: Random, value: str) -> Draft:
    poles = rng.choice(("NS", "SN") if value == "attract" else ("NN", "SS"))
    (who,) = names(rng, 1)
    kind = "opposite" if value == "attract" else "like"
    return Draft(
        question=f"{who} puts two magnets in a row in {rng.choice(words.PLACES)}. Will they attract or repel?",
        answer=value,
        others=others(rng, PULLS, value, 1),
        solution=f"The poles that face each other are {poles[0]} and {poles[1]}. These are {kind} poles: they {value}.",
        caption=f"Two bar magnets whose {kind} poles, {poles[0]} and {poles[1]}, face each other.",
        scene=Magnets(poles, fresh_seed(rng)),
    )


def _solutions(rng: Random, value: str) -> Draft:
    color = rng.choice(tuple(words.COLORS))
    if value == CONCENTRATIONS[2]:
        counts = (rng.randint(3, 12),) * 2
        finding = "are equally crowded"
    else:
        few = rng.randint(2, 6)
        counts = (few + rng.randint(5, 7), few)
        counts = counts if value == CONCENTRATIONS[0] else counts[::-1]
        finding = f"differ: {value} is more crowded"
    what = rng.choice(("salt", "sugar", "dye", "iodine", "soda"))
    return Draft(
        question=f"{names(rng, 1)[0]} mixed {what} in {rng.choice(words.PLACES)}. "
        "Which solution has the higher concentration of particles?",
        answer=value,
        others=others(rng, CONCENTRATIONS, value, 2),
        solution=f"A has {counts[0]} particles and B has {counts[1]} in the same volume.",
        caption=f"Two beakers with {counts[0]} and {counts[1]} {color} particles {finding}.",
        scene=Solutions(counts, color, fresh_seed(rng)),
    )


def _thermometer(rng: Random, value: str) -> Draft:
    color = rng.choice(("red", "blue", "green", "purple"))
    thing = rng.choice(("soup", "pool", "oven", "tea", "greenhouse", "engine", "bath", "sand"))
    return Draft(
        question=f"{names(rng, 1)[0]} measured the {thing} in {rng.choice(words.PLACES)}. "
        "What temperature does the thermometer show?",
        answer=value,
        others=others(rng, READINGS, value, 3),
        solution=f"The top of the {color} column is at {value}.",
        caption=f"A thermometer with its {color} column up to {value}.",
        scene=Thermometer(int(value.removesuffix("°C")), color, fresh_seed(rng)),
    )


def _punnett(rng: Random, value: str) -> Draft:
    boxes = PROBABILITIES.index(value)
    shown = "dominant" if boxes == 3 else "recessive" if boxes == 1 else rng.choice(("dominant", "recessive"))
    capital = rng.choice("BDEFGHLRT")
    both, mixed, none = capital * 2, capital + capital.lower(), capital.lower() * 2
    dominant_boxes = boxes if shown == "dominant" else 4 - boxes
    crosses = {
        4: [(both, both), (both, mixed), (both, none)],
        3: [(mixed, mixed)],
        2: [(mixed, none)],
        0: [(none, none)],
    }
    parents = rng.choice(crosses[dominant_boxes])
    parents = parents if rng.random() < 0.5 else parents[::-1]
    color = rng.choice(("red", "blue", "green", "purple", "orange"))
    baby = rng.choice(("goat", "rabbit", "pea plant", "chicken", "horse", "rose"))
    return Draft(
        question=f"{names(rng, 1)[0]} crosses each {baby} with another. "
        f"What is the probability that a young {baby} gets the colored trait?",
        answer=value,
        others=others(rng, PROBABILITIES, value, 3),
        solution=f"The trait is {shown}. {boxes} of the 4 boxes of the cross {parents[0]} x {parents[1]} have it.",
        caption=f"A Punnett square of {parents[0]} and {parents[1]} with {boxes} of the 4 boxes {color}.",
        scene=Punnett(parents, shown, color, fresh_seed(rng)),
    )


def _food_chain(rng: Random, value: str) -> Draft:
    prey, plant = rng.choice(PREY), rng.choice(PLANTS)
    return Draft(
        question=f"{names(rng, 1)[0]} drew a food chain of the {rng.choice(('woods', 'fields', 'hills'))} near "
        f"{rng.choice(words.PLACES)}. Which of these is its top predator?",
        answer=value,
        others=others(rng, PREDATORS, value, 3),
        solution=f"The {plant} is eaten by the {prey}, and the {prey} by the {value}. Nothing eats the {value}.",
        caption=f"A food chain from {plant} to {prey} to {value}.",
        scene=FoodChain((value, prey, plant), fresh_seed(rng)),
    )


def _moon(rng: Random, value: str) -> Draft:
    land = rng.choice(("hills", "roofs", "sea"))
    over = {"hills": "dark hills", "roofs": "the roofs", "sea": "the sea"}[land]
    return Draft(
        question=f"{names(rng, 1)[0]} saw the moon in {rng.choice(words.PLACES)} on {rng.choice(words.DAYS)}. "
        "Which phase is it?",
        answer=value,
        others=others(rng, PHASES, value, 3),
        solution=f"The lit part of the disk shows that this is the {value}.",
        caption=f"A night sky over {over} with a {value}.",
        scene=Moon(PHASES.index(value), land, fresh_seed(rng)),
    )


def _rainfall(rng: Random, value: str) -> Draft:
    highest, peak, color = MONTHS.index(value), rng.randint(75, 100), rng.choice(tuple(words.COLORS))
    rain = tuple(peak if i == highest else rng.randint(12, peak - 25) for i in range(6))
    return Draft(
        question=f"{names(rng, 1)[0]} recorded the rain in {rng.choice(words.PLACES)}. Which month had the most rain?",
        answer=value,
        others=others(rng, MONTHS, value, 4),
        solution=f"The highest bar, {peak} mm, is the one of {value}.",
        caption=f"A bar chart with {color} bars, the highest, {peak} mm, in {value}.",
        scene=Rainfall(rain, color, fresh_seed(rng)),
    )


def _leaf(rng: Random, value: str) -> Draft:
    tint = rng.choice(tuple(LEAF_TINTS))
    return Draft(
        question=f"{names(rng, 1)[0]} found a leaf in {rng.choice(words.PLACES)} on {rng.choice(words.DAYS)}. "
        "What is its shape?",
        answer=value,
        others=others(rng, tuple(LEAF_SHAPES), value, 3),
        solution=f"The outline of the leaf is {value}.",
        caption=f"A {tint} leaf that is {value}.",
        scene=Leaf(value, tint, fresh_seed(rng)),
    )


CHANGED = (
    "the kind of soil",
    "the amount of water",
    "the hours of light",
    "the size of the pot",
    "the age of the seed",
)
MEASURED = ("the height", "the number of leaves", "the mass", "the color", "the number of flowers")


def _experiment(rng: Random, value: str) -> Draft:
    changed = value if value in CHANGED else rng.choice(CHANGED)
    measured = value if value in MEASURED else rng.choice(MEASURED)
    who, plant = names(rng, 1)[0], rng.choice(("beans", "roses", "peas", "corn", "tulips", "wheat"))
    kind, partner, rest = ("independent", measured, CHANGED) if value == changed else ("dependent", changed, MEASURED)
    third = rng.choice([phrase for phrase in rest if phrase != value])
    first = rng.choice(("varied", "changed", "chose"))
    then = rng.choice(("measured", "recorded", "noted"))
    return Draft(
        hint=f"{who} grew {plant} in {rng.choice(words.PLACES)}. {who} {first} {changed} and {then} {measured}.",
        question=f"What was the {kind} variable?",
        answer=value,
        others=(partner, third),
        solution=f"{who} {first if kind == 'independent' else then} {value}: it is the {kind} variable.",
    )


def _climate(rng: Random, value: str) -> Draft:
    place, what = rng.choice(words.PLACES), rng.choice(("rain", "snow", "fog", "wind", "hail", "frost", "sun"))
    if value == "weather":
        when = rng.choice(("last night", "today", "this morning", f"on {rng.choice(words.DAYS)}", "yesterday"))
        hint = f"There was {rng.choice(('much', 'no', 'some', 'little'))} {what} in {place} {when}."
    else:
        when = rng.choice((*MONTHS, "winter", "summer", "spring"))
        hint = f"There is {rng.choice(('usually', 'often', 'rarely', 'never'))} {what} in {place} in {when}."
    return Draft(
        hint=hint,
        question=f"{names(rng, 1)[0]} read this. Does it describe the weather or the climate?",
        answer=value,
        others=others(rng, ("weather", "climate"), value, 1),
        solution="Weather is what happens at a certain time; climate is the pattern over many years.",
    )


def _thermal(rng: Random, value: str) -> Draft:
    other = rng.choice([color for color in words.COLORS if color != value])
    thing = rng.choice(("kettle", "stone", "pan", "brick", "cup", "ball", "bottle", "iron"))
    hint = rng.choice(
        (f"The {value} one is hotter than the {other} one.", f"The {other} one is colder than the {value} one.")
    )
    return Draft(
        hint=f"{names(rng, 1)[0]} has two like {thing}s in {rng.choice(words.PLACES)}. {hint}",
        question=f"Which {thing} has more thermal energy?",
        answer=f"the {value} {thing}",
        others=(f"the {other} {thing}",),
        solution=f"The {value} {thing} has the higher temperature, so it has more thermal energy.",
    )


def _kinds(table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {word: kind for kind, group in table.items() for word in group}


MATTER_OF = _kinds(words.MATTER)
ANIMAL_OF = _kinds(words.ANIMALS)


def _matter(rng: Random, value: str) -> Draft:
    kind = MATTER_OF[value]
    return Draft(
        question=f"Which of these is a {kind} at room temperature?",
        answer=value,
        others=rng.sample([word for word, other in MATTER_OF.items() if other != kind], 2),
        solution=f"{value.capitalize()} is a {kind}.",
    )


def _animal(rng: Random, value: str) -> Draft:
    kind = ANIMAL_OF[value]
    return Draft(
        question=f"Which of these animals is {with_article(kind)}?",
        answer=value,
        others=rng.sample([word for word, other in ANIMAL_OF.items() if other != kind], 3),
        solution=f"{with_article(value).capitalize()} is {with_article(kind)}.",
    )


FAMILIES = families(
    {
        "magnets": (_magnets, PULLS),
        "solutions": (_solutions, CONCENTRATIONS),
        "thermometer": (_thermometer, READINGS),
        "punnett square": (_punnett, PROBABILITIES),
        "food chain": (_food_chain, PREDATORS),
        "moon phase": (_moon, PHASES),
        "rainfall": (_rainfall, MONTHS),
        "leaf shape": (_leaf, tuple(LEAF_SHAPES)),
        "experiment variables": (_experiment, CHANGED + MEASURED),
        "weather or climate": (_climate, ("weather", "climate")),
        "thermal energy": (_thermal, tuple(words.COLORS)),
        "states of matter": (_matter, tuple(MATTER_OF)),
        "animal classes": (_animal, tuple(ANIMAL_OF)),
    }
)
