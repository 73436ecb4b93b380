"""How well a model follows instructions: the loss of the expected responses, and how many it gives itself."""

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
    """Nats a token of the expected responses, their end-of-text token included."""
    exact: float
    """Percent of the instructions whose greedily generated response is the expected one, letter by letter."""
    n: int
    """Instructions."""
    by_topic: dict[str, float]
    """`exact` of each topic, where instructions have one."""


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
    """The table of a run: a row a model."""
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
