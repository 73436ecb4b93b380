"""Natural science: magnets, solutions, thermometers, heredity, food chains, the moon, rain, leaves, and texts."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from eval.demo import natural_pictures as pictures
from eval.demo.family import Draft, DraftFunction, with_article
from eval.demo.words import ANIMALS, CHANGED, COLORS, DAYS, MATTER, MEASURED, NAMES, PHASES, PLACES

PULLS = ("attract", "repel")
CONCENTRATIONS = ("solution A", "solution B", "neither; they are the same")
READINGS = tuple(f"{degrees}°C" for degrees in range(10, 70, 10))
PROBABILITIES = ("0/4", "1/4", "2/4", "3/4", "4/4")
PREDATORS = ("fox", "owl", "snake", "hawk", "bear", "heron")
PREY = ("mouse", "frog", "rabbit")
PLANTS = ("grass", "berries", "clover")
MONTHS = ("January", "February", "March", "April", "May", "June")


def _magnets(rng: Random, value: str) -> Draft:
    kind, pairs = ("opposite", ("NS", "SN")) if value == "attract" else ("like", ("NN", "SS"))
    poles = rng.choice(pairs)
    return Draft(
        question=f"{rng.choice(NAMES)} puts two magnets in a row in {rng.choice(PLACES)}. Will they attract or repel?",
        solution=f"The poles that face each other are {poles[0]} and {poles[1]}. These are {kind} poles: they {value}.",
        caption=f"Two bar magnets whose {kind} poles, {poles[0]} and {poles[1]}, face each other.",
        scene=pictures.Magnets(poles),
    )


def _solutions(rng: Random, value: str) -> Draft:
    color = rng.choice(tuple(COLORS))
    if value == CONCENTRATIONS[2]:
        counts, finding = (rng.randint(3, 12),) * 2, "are equally crowded"
    else:
        few = rng.randint(2, 6)
        many = few + rng.randint(5, 7)
        counts = (many, few) if value == CONCENTRATIONS[0] else (few, many)
        finding = f"differ: {value} is more crowded"
    what = rng.choice(("salt", "sugar", "dye", "iodine", "soda"))
    return Draft(
        question=f"{rng.choice(NAMES)} mixed {what} in {rng.choice(PLACES)}. "
        "Which solution has the higher concentration of particles?",
        solution=f"A has {counts[0]} particles and B has {counts[1]} in the same volume.",
        caption=f"Two beakers with {counts[0]} and {counts[1]} {color} particles {finding}.",
        scene=pictures.Solutions(counts, color),
    )


def _thermometer(rng: Random, value: str) -> Draft:
    color = rng.choice(("red", "blue", "green", "purple"))
    thing = rng.choice(("soup", "pool", "oven", "tea", "greenhouse", "engine", "bath", "sand"))
    return Draft(
        question=f"{rng.choice(NAMES)} measured the {thing} in {rng.choice(PLACES)}. "
        "What temperature does the thermometer show?",
        solution=f"The top of the {color} column is at {value}.",
        caption=f"A thermometer with its {color} column up to {value}.",
        scene=pictures.Thermometer(int(value.removesuffix("°C")), color),
    )


def _punnett(rng: Random, value: str) -> Draft:
    boxes = PROBABILITIES.index(value)
    shown = "dominant" if boxes == 3 else "recessive" if boxes == 1 else rng.choice(("dominant", "recessive"))
    capital = rng.choice("BDEFGHLRT")
    both, mixed, none = capital * 2, capital + capital.lower(), capital.lower() * 2
    dominant_boxes = boxes if shown == "dominant" else 4 - boxes
    with_both = [(both, both), (both, mixed), (both, none)]
    crosses = {4: with_both, 3: [(mixed, mixed)], 2: [(mixed, none)], 0: [(none, none)]}
    parents = rng.choice(crosses[dominant_boxes])
    parents = parents if rng.random() < 0.5 else parents[::-1]
    color = rng.choice(("red", "blue", "green", "purple", "orange"))
    baby = rng.choice(("goat", "rabbit", "pea plant", "chicken", "horse", "rose"))
    return Draft(
        question=f"{rng.choice(NAMES)} crosses each {baby} with another. "
        f"What is the probability that a young {baby} gets the colored trait?",
        solution=f"The trait is {shown}. {boxes} of the 4 boxes of the cross {parents[0]} x {parents[1]} have it.",
        caption=f"A Punnett square of {parents[0]} and {parents[1]} with {boxes} of the 4 boxes {color}.",
        scene=pictures.Punnett(parents, shown, color),
    )


def _food_chain(rng: Random, value: str) -> Draft:
    prey, plant = rng.choice(PREY), rng.choice(PLANTS)
    return Draft(
        question=f"{rng.choice(NAMES)} drew a food chain of the {rng.choice(('woods', 'fields', 'hills'))} near "
        f"{rng.choice(PLACES)}. Which of these is its top predator?",
        solution=f"The {plant} is eaten by the {prey}, and the {prey} by the {value}. Nothing eats the {value}.",
        caption=f"A food chain from {plant} to {prey} to {value}.",
        scene=pictures.FoodChain((value, prey, plant)),
    )


def _moon(rng: Random, value: str) -> Draft:
    land, over = rng.choice((("hills", "dark hills"), ("roofs", "the roofs"), ("sea", "the sea")))
    return Draft(
        question=f"{rng.choice(NAMES)} saw the moon in {rng.choice(PLACES)} on {rng.choice(DAYS)}. Which phase is it?",
        solution=f"The lit part of the disk shows that this is the {value}.",
        caption=f"A night sky over {over} with a {value}.",
        scene=pictures.Moon(PHASES.index(value), land),
    )


def _rainfall(rng: Random, value: str) -> Draft:
    highest, peak, color = MONTHS.index(value), rng.randint(75, 100), rng.choice(tuple(COLORS))
    rain = tuple(peak if i == highest else rng.randint(12, peak - 25) for i in range(6))
    return Draft(
        question=f"{rng.choice(NAMES)} recorded the rain in {rng.choice(PLACES)}. Which month had the most rain?",
        solution=f"The highest bar, {peak} mm, is the one of {value}.",
        caption=f"A bar chart with {color} bars, the highest, {peak} mm, in {value}.",
        scene=pictures.Rainfall(rain, color),
    )


def _leaf(rng: Random, value: str) -> Draft:
    tint = rng.choice(tuple(pictures.LEAF_TINTS))
    return Draft(
        question=f"{rng.choice(NAMES)} found a leaf in {rng.choice(PLACES)} on {rng.choice(DAYS)}. What is its shape?",
        solution=f"The outline of the leaf is {value}.",
        caption=f"A {tint} leaf that is {value}.",
        scene=pictures.Leaf(value, tint),
    )


def _experiment(rng: Random, value: str) -> Draft:
    changed = value if value in CHANGED else rng.choice(CHANGED)
    measured = value if value in MEASURED else rng.choice(MEASURED)
    who, plant = rng.choice(NAMES), rng.choice(("beans", "roses", "peas", "corn", "tulips", "wheat"))
    kind, partner, rest = ("independent", measured, CHANGED) if value == changed else ("dependent", changed, MEASURED)
    third = rng.choice([phrase for phrase in rest if phrase != value])
    first = rng.choice(("varied", "changed", "chose"))
    then = rng.choice(("measured", "recorded", "noted"))
    return Draft(
        hint=f"{who} grew {plant} in {rng.choice(PLACES)}. {who} {first} {changed} and {then} {measured}.",
        question=f"What was the {kind} variable?",
        others=(partner, third),
        solution=f"{who} {first if kind == 'independent' else then} {value}: it is the {kind} variable.",
    )


def _climate(rng: Random, value: str) -> Draft:
    place, what = rng.choice(PLACES), rng.choice(("rain", "snow", "fog", "wind", "hail", "frost", "sun"))
    if value == "weather":
        when = rng.choice(("last night", "today", "this morning", f"on {rng.choice(DAYS)}", "yesterday"))
        hint = f"There was {rng.choice(('much', 'no', 'some', 'little'))} {what} in {place} {when}."
    else:
        when = rng.choice((*MONTHS, "winter", "summer", "spring"))
        hint = f"There is {rng.choice(('usually', 'often', 'rarely', 'never'))} {what} in {place} in {when}."
    return Draft(
        hint=hint,
        question=f"{rng.choice(NAMES)} read this. Does it describe the weather or the climate?",
        solution="Weather is what happens at a certain time; climate is the pattern over many years.",
    )


def _thermal(rng: Random, value: str) -> Draft:
    other = rng.choice([color for color in COLORS if color != value])
    thing = rng.choice(("kettle", "stone", "pan", "brick", "cup", "ball", "bottle", "iron"))
    hint = rng.choice(
        (f"The {value} one is hotter than the {other} one.", f"The {other} one is colder than the {value} one.")
    )
    return Draft(
        hint=f"{rng.choice(NAMES)} has two like {thing}s in {rng.choice(PLACES)}. {hint}",
        question=f"Which {thing} has more thermal energy?",
        answer=f"the {value} {thing}",
        others=(f"the {other} {thing}",),
        solution=f"The {value} {thing} has the higher temperature, so it has more thermal energy.",
    )


def _matter(rng: Random, value: str) -> Draft:
    kind = MATTER[value]
    return Draft(
        question=f"Which of these is a {kind} at room temperature?",
        others=rng.sample([word for word, other in MATTER.items() if other != kind], 2),
        solution=f"{value.capitalize()} is a {kind}.",
    )


def _animal(rng: Random, value: str) -> Draft:
    kind = ANIMALS[value]
    return Draft(
        question=f"Which of these animals is {with_article(kind)}?",
        others=rng.sample([word for word, other in ANIMALS.items() if other != kind], 3),
        solution=f"{with_article(value).capitalize()} is {with_article(kind)}.",
    )


DRAFTS: dict[str, tuple[DraftFunction, Sequence[str]]] = {
    "magnets": (_magnets, PULLS),
    "solutions": (_solutions, CONCENTRATIONS),
    "thermometer": (_thermometer, READINGS),
    "punnett square": (_punnett, PROBABILITIES),
    "food chain": (_food_chain, PREDATORS),
    "moon phase": (_moon, PHASES),
    "rainfall": (_rainfall, MONTHS),
    "leaf shape": (_leaf, tuple(pictures.LEAF_SHAPES)),
    "experiment variables": (_experiment, CHANGED + MEASURED),
    "weather or climate": (_climate, ("weather", "climate")),
    "thermal energy": (_thermal, tuple(COLORS)),
    "states of matter": (_matter, tuple(MATTER)),
    "animal classes": (_animal, tuple(ANIMALS)),
}
"""Function and values of each family, by its name in `families.csv`."""
