"""Score responses to instructions: loss of the expected ones, and how many are generated exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from mmadapter.evaluation.grid import Grid
from mmadapter.scienceqa.problems import Dataset


@dataclass(frozen=True, kw_only=True)
class ResponseScores:
    """One model's row."""

    name: str
    loss: float
    """Loss of the expected responses in nats a token, end-of-text token included."""
    exact: float
    """Percent of instructions whose greedily generated response is exactly the expected one."""
    n: int
    """Number of instructions."""
    by_topic: dict[str, float]
    """`exact` by topic, where instructions have one."""


def score_responses(name: str, loss: float, answers: pd.DataFrame, data: Dataset) -> ResponseScores:
    """
    Args:
        answers: `predict`'s, by generation: a prediction is the expected response, or there is none.
    """
    exact = dict(zip(answers["pid"], answers["prediction"].notna(), strict=True))
    topics = defaultdict(list)
    for pid, problem in data.problems.items():
        topics[problem.topic].append(exact[pid])
    percent = {topic: 100 * sum(hits) / len(hits) for topic, hits in topics.items() if topic is not None}
    return ResponseScores(
        name=name, loss=loss, exact=100 * sum(exact.values()) / len(exact), n=len(exact), by_topic=percent
    )


def responses_grid(systems: Sequence[ResponseScores], title: str) -> Grid:
    """Build the table, one row a model."""
    topics = list(systems[0].by_topic)
    rows = [
        (each.name, f"{each.loss:.3f}", f"{each.exact:.2f}", *(f"{each.by_topic[topic]:.1f}" for topic in topics))
        for each in systems
    ]
    return Grid(
        title=f"{title}: {systems[0].n:,} instructions, responses exactly as expected, in percent",
        headers=("", "nats a token", "exact", *topics),
        rows=tuple(rows),
    )
