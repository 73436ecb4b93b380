"""An endless stream of fresh demo problems for training backbones, without those of the test splits."""

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

from eval.demo import FAMILIES, DemoProblem, Family, demo_problems, sample_problem

HELD_OUT_SEEDS = range(5)
"""Demo data sets whose val and test problems no backbone sees."""


def fresh_problems(rng: Random, families: Sequence[Family] = FAMILIES) -> Iterator[DemoProblem]:
    """Yield problems without end, in the families' shares, none from a held-out val or test split."""
    shares = [family.share for family in families]
    while True:
        problem = sample_problem(rng, rng.choices(families, shares)[0])
        if problem.key not in _held_out():
            yield problem


@cache
def _held_out() -> frozenset[tuple]:
    """Keys of the problems in the held-out splits."""
    splits = [demo_problems(seed)[split] for seed in HELD_OUT_SEEDS for split in ("val", "test")]
    return frozenset(problem.key for problems in splits for problem in problems)
