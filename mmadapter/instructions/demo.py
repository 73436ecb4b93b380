"""Instructions in miniature, generated from a seed: the demo's questions without their options.

The embedded language model can tell all of it, among options and behind "Answer:", which is all it has ever read. In
Alpaca's template, with no options to choose among, it says nothing sensible: that is for an adapter to teach.
"""

from __future__ import annotations

from collections.abc import Mapping

from mmadapter.demo import FAMILIES, demo_problems
from mmadapter.scienceqa.problems import Dataset, Problem

SIZES: Mapping[str, int] = {"train": 1200, "val": 100, "test": 200}
"""Instructions in each split, before duplicates are removed."""

TOPICS = frozenset(
    {"experiment variables", "thermal energy", "prices", "story details", "tone", "kinds of sentences", "tenses"}
)
"""Families whose questions have a single answer without options, in too many forms to memorise."""


def demo_instructions(seed: int = 0, sizes: Mapping[str, int] = SIZES) -> Dataset:
    """Generate the splits. No instruction occurs twice with the same input."""
    problems: dict[str, Problem] = {}
    seen: set[tuple[str, str]] = set()
    families = [family for family in FAMILIES if family.name in TOPICS]
    for split, drawn in demo_problems(seed, sizes, families).items():
        for each in drawn:
            if (each.question, each.hint) in seen:
                continue
            seen.add((each.question, each.hint))
            pid = str(len(problems) + 1)
            problems[pid] = Problem(
                pid=pid,
                split=split,
                question=each.question,
                hint=each.hint,
                choices=(each.choices[each.answer],),
                answer=0,
                topic=each.family.name,
            )
    splits = {split: tuple(pid for pid, problem in problems.items() if problem.split == split) for split in sizes}
    return Dataset("demo-instructions", problems, splits)
