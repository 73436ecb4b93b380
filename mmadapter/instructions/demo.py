"""Instructions in miniature, generated from a seed, of words that the embedded language model knows.

Each can be followed with what that model learnt from questions (what stands where in a text, which word belongs to
which), but it was never told to do anything: without an adapter it follows none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from mmadapter.demo import words
from mmadapter.scienceqa.problems import Dataset, Problem

SIZES: Mapping[str, int] = {"train": 600, "val": 60, "test": 200}
"""Instructions in each split."""

WORDS = (*words.NAMES, *words.PLACES, *words.COLORS)


def _repeat(rng: Random) -> tuple[str, str, str]:
    word = rng.choice(WORDS)
    return f"Repeat the word {word}.", "", word


def _first(rng: Random) -> tuple[str, str, str]:
    given = rng.sample(WORDS, 3)
    return "Which word comes first?", " ".join(given), given[0]


def _last(rng: Random) -> tuple[str, str, str]:
    given = rng.sample(WORDS, 3)
    return "Which word comes last?", " ".join(given), given[-1]


def _reverse(rng: Random) -> tuple[str, str, str]:
    one, other = rng.sample(WORDS, 2)
    return "Say these words in the other order.", f"{one} {other}", f"{other} {one}"


def _twice(rng: Random) -> tuple[str, str, str]:
    word = rng.choice(WORDS)
    return f"Say {word} two times.", "", f"{word} {word}"


def _color(rng: Random) -> tuple[str, str, str]:
    color = rng.choice(tuple(words.COLORS))
    name, place = rng.choice(words.NAMES), rng.choice(words.PLACES)
    given = rng.sample([color, name, place], 3)
    return "Name the color.", " ".join(given), color


def _person(rng: Random) -> tuple[str, str, str]:
    color = rng.choice(tuple(words.COLORS))
    name, place = rng.choice(words.NAMES), rng.choice(words.PLACES)
    given = rng.sample([color, name, place], 3)
    return "Name the person.", " ".join(given), name


TASKS: Mapping[str, Callable[[Random], tuple[str, str, str]]] = {
    "repeat": _repeat,
    "first": _first,
    "last": _last,
    "reverse": _reverse,
    "twice": _twice,
    "color": _color,
    "person": _person,
}
"""By topic: draws an instruction, its input and the response."""


def demo_instructions(seed: int = 0, sizes: Mapping[str, int] = SIZES) -> Dataset:
    """The splits: tasks take turns, and no instruction stands twice, within a split or in two of them."""
    rng, seen = Random(seed), set()
    problems: dict[str, Problem] = {}
    for split, size in sizes.items():
        for number in range(size):
            topic = tuple(TASKS)[number % len(TASKS)]
            while (drawn := TASKS[topic](rng))[:2] in seen:
                pass
            seen.add(drawn[:2])
            instruction, given, response = drawn
            pid = str(len(problems) + 1)
            problems[pid] = Problem(
                pid=pid, split=split, question=instruction, hint=given, choices=(response,), answer=0, topic=topic
            )
    splits = {split: tuple(pid for pid, p in problems.items() if p.split == split) for split in sizes}
    return Dataset("demo-instructions", problems, splits)
