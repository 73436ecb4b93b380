"""Scores of a model that follows instructions: loss of the expected responses, and how many it generates exactly."""

from __future__ import annotations

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
    """Nats for each token of the expected responses, their end-of-text token included."""
    exact: float
    """Percent of the instructions whose greedily generated response is the expected one, character by character."""
    n: int
    """Number of instructions."""
    by_topic: dict[str, float]
    """`exact` for each topic; empty if instructions have none."""


def score_responses(name: str, loss: float, answers: pd.DataFrame, data: Dataset) -> ResponseScores:
    """Score a model's generated responses.

    Args:
        answers: of `predict`, by generation; the prediction is <NA> unless the response is the expected one.
    """
    exact = answers.set_index("pid")["prediction"].notna()
    topics: dict[str, list[bool]] = {}
    for pid, problem in data.problems.items():
        if problem.topic is not None:
            topics.setdefault(problem.topic, []).append(exact[pid])
    return ResponseScores(
        name=name,
        loss=loss,
        exact=100 * int(exact.sum()) / len(exact),
        n=len(exact),
        by_topic={topic: 100 * int(sum(hits)) / len(hits) for topic, hits in topics.items()},
    )


def responses_grid(systems: Sequence[ResponseScores], title: str) -> Grid:
    """Return a run's table, one row for each model."""
    topics = list(systems[0].by_topic)
    return Grid(
        title=f"{title}: {systems[0].n:,} instructions, responses exactly as expected, in percent",
        headers=("", "nats a token", "exact", *topics),
        rows=tuple(
            (scores.name, f"{scores.loss:.3f}", f"{scores.exact:.2f}", *(f"{scores.by_topic[t]:.1f}" for t in topics))
            for scores in systems
        ),
    )
