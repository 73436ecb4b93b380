"""A small set of instructions, generated from a seed: the demo's questions without their options.

The embedded language model knows the answers, but only among options and after "Answer:", the only form it was trained
on. To Alpaca's prompt it gives no sensible response: an adapter has to teach it that.
"""

from __future__ import annotations

from collections.abc import Mapping

from eval.demo import FAMILIES, demo_problems
from mmadapter.scienceqa.problems import Dataset, Problem

SIZES: Mapping[str, int] = {"train": 1200, "val": 100, "test": 200}
"""Instructions drawn for each split; those that occur in an earlier place are then dropped."""

TOPICS = frozenset(
    {"experiment variables", "thermal energy", "prices", "story details", "tone", "kinds of sentences", "tenses"}
)
"""Families whose questions have one answer even without options, and too many forms to be learnt by heart."""


def demo_instructions(seed: int = 0, sizes: Mapping[str, int] = SIZES) -> Dataset:
    """Generate the splits; no instruction occurs twice with the same input, within a split or in two of them."""
    problems: dict[tuple[str, str], Problem] = {}
    families = [family for family in FAMILIES if family.name in TOPICS]
    for split, drawn in demo_problems(seed, sizes, families).items():
        for source in drawn:
            if (source.question, source.hint) not in problems:
                problems[source.question, source.hint] = Problem(
                    pid=str(len(problems) + 1),
                    split=split,
                    question=source.question,
                    hint=source.hint,
                    choices=(source.choices[source.answer],),
                    answer=0,
                    topic=source.family.name,
                )
    splits = {split: tuple(p.pid for p in problems.values() if p.split == split) for split in sizes}
    return Dataset("demo-instructions", {problem.pid: problem for problem in problems.values()}, splits)
