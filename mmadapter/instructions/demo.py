"""Instructions in miniature, generated from a seed, of words that the embedded language model knows.

What they ask for stands in their input, and that model can look things up in a text. But it has only ever answered
questions among options; it was never told to do anything, and without an adapter it follows no instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from mmadapter.demo.words import COLORS, NAMES, PLACES
from mmadapter.scienceqa.problems import Dataset, Problem

SIZES: Mapping[str, int] = {"train": 600, "val": 60, "test": 200}
"""Instructions in each split."""


class Words(NamedTuple):
    """A person, a place and a color."""

    person: str
    place: str
    color: str


TASKS: Mapping[str, tuple[str, Callable[[Words, list[str]], str]]] = {
    "color": ("Name the color.", lambda kinds, given: kinds.color),
    "person": ("Name the person.", lambda kinds, given: kinds.person),
    "place": ("Name the place.", lambda kinds, given: kinds.place),
    "first": ("Which word comes first?", lambda kinds, given: given[0]),
    "last": ("Which word comes last?", lambda kinds, given: given[-1]),
    "repeat": ("Repeat the words.", lambda kinds, given: " ".join(given)),
    "reverse": ("Say the words in reverse order.", lambda kinds, given: " ".join(given[::-1])),
}
"""By topic: the instruction, and the response to its input."""


def demo_instructions(seed: int = 0, sizes: Mapping[str, int] = SIZES) -> Dataset:
    """The splits: tasks take turns, the three words stand in any order, and no instruction has the same input twice."""
    rng, seen = Random(seed), set()
    problems: dict[str, Problem] = {}
    for split, size in sizes.items():
        for number in range(size):
            topic = tuple(TASKS)[number % len(TASKS)]
            instruction, respond = TASKS[topic]
            while True:
                kinds = Words(rng.choice(NAMES), rng.choice(PLACES), rng.choice(tuple(COLORS)))
                given = rng.sample(kinds, len(kinds))
                if (topic, *given) not in seen:  # of 33,120
                    break
            seen.add((topic, *given))
            pid = str(len(problems) + 1)
            problems[pid] = Problem(
                pid=pid,
                split=split,
                question=instruction,
                hint=" ".join(given),
                choices=(respond(kinds, given),),
                answer=0,
                topic=topic,
            )
    splits = {split: tuple(pid for pid, problem in problems.items() if problem.split == split) for split in sizes}
    return Dataset("demo-instructions", problems, splits)
