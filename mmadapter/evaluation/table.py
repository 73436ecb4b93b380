"""The table of results: scored systems, published rows, and what the numbers rest on. `render` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation import estimates
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class, digits, published_rows, question_classes
from mmadapter.evaluation.baselines import CHANCE, Options, credit_by_class
from mmadapter.evaluation.calibration import expected_calibration_error
from mmadapter.evaluation.clusters import single_questions
from mmadapter.evaluation.frame import answered
from mmadapter.evaluation.predictions import Predictions
from mmadapter.evaluation.reliance import Controls
from mmadapter.evaluation.rules import random_credit
from mmadapter.evaluation.statistics import accuracy_intervals, compare
from mmadapter.evaluation.verdicts import compare_frames
from mmadapter.evaluation.wordings import cluster_ids

REFERENCE_LEVELS = frozenset({"Human", "Random Choice", "ceiling"})
"""Rows that are not systems: they never hold the best number of a column."""


Unit = Literal["wording", "question"]
"""The unit that intervals and tests take as independent."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table; by itself a published one."""

    name: str
    digits: dict[str, str | None]
    """Accuracy by column, as printed; None where the table has a dash."""
    source: str
    """The publication, or the file of the predictions."""
    rule: str | None = None
    """The rule that read the answers; None for a published row."""


@dataclass(frozen=True, kw_only=True)
class BaselineRow(Row):
    """The line of a baseline without a model (`baselines`)."""

    credit: pd.Series
    """Credit of each question by pid."""
    intervals: pd.DataFrame | None
    """`estimates.accuracy_intervals`, if requested."""


@dataclass(frozen=True, kw_only=True)
class ScoredRow(Row):
    """The line of a system whose answers were scored here."""

    frame: pd.DataFrame
    """The system's error frame."""
    scores: pd.DataFrame
    """`accuracy_by_class`."""
    intervals: pd.DataFrame | None
    """`accuracy_intervals`, if requested."""
    unparsed: int | None
    """Answers that the rule could not read; None if that is unknown."""
    random_credit: float | None
    """Points of Avg that a random option for each unparsed answer is worth; None if `unparsed` is."""
    notes: tuple[str, ...] = ()
    """`Predictions.notes`."""

    @property
    def calibration_error(self) -> float:
        """As a fraction; NaN without option probabilities."""
        return expected_calibration_error(self.frame)


@dataclass(frozen=True)
class ResultTable:
    """Systems over the same questions, above published rows."""

    title: str
    """Data set and split."""
    rows: tuple[ScoredRow, ...]
    published: tuple[Row, ...] = ()
    baselines: tuple[BaselineRow, ...] = ()
    """Chance on these questions and, if requested, look-ups in the training split; never the best of a column."""
    comparisons: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    """`compare` of the first system with each other one, if intervals were requested."""
    gains: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Gain of each system over the best baseline of each column, if both were requested."""
    classes: dict[str, dict[str, pd.DataFrame]] = field(default_factory=dict)
    """By kind of class, then system: `credit_by_class` of each baseline and system, with `low` and `high` if
    requested."""
    unit: Unit | None = None
    """The unit of the intervals, if requested."""
    margin: float | None = None
    """Points within which two systems may be called equivalent, if stated."""
    controls: tuple[Controls, ...] = ()
    """Controls of the systems whose models were asked under other conditions."""

    def best(self) -> dict[str, str]:
        """Return the best number of each column in which at least two systems have one."""
        rows = [row for row in (*self.rows, *self.published) if row.name not in REFERENCE_LEVELS]
        columns = {column: [shown for row in rows if (shown := row.digits[column])] for column in TABLE_COLUMNS}
        return {column: max(shown, key=float) for column, shown in columns.items() if len(shown) > 1}

    def n_questions(self) -> int:
        """Return how many questions were scored."""
        return len(self.rows[0].frame)

    def publications(self) -> list[str]:
        """Return the sources of the published rows, each once."""
        return list(dict.fromkeys(row.source for row in self.published))


def result_table(
    systems: Sequence[Predictions],
    questions: pd.DataFrame,
    *,
    title: str,
    intervals: Unit | None = None,
    published: bool = False,
    baselines: pd.DataFrame | None = None,
    classes: Mapping[str, Mapping[str, pd.Series]] | None = None,
    margin: float | None = None,
) -> ResultTable:
    """Score predictions and put them into one table.

    Args:
        systems: each over all `questions`.
        questions: `frame.question_frame` of the split.
        title: data set and split, such as "scienceqa test".
        intervals: compute the interval of every cell, and compare the first system with each other one. Questions of a
            wording are not independent: take `question` only to compare with numbers that ignore that.
        published: append the paper's Table 2.
        baselines: of `baselines.baselines`; without it chance alone stands above the systems.
        classes: further classes of questions by kind, then name: each kind has a table of its own (`wordings`).
        margin: points of accuracy that do not matter, stated beforehand: two systems whose difference is shown to be
            smaller are called equivalent. Needs intervals over wordings.

    Raises:
        UserError: no system, two with the same name, or predictions that do not fit the questions.
    """
    if not systems:
        raise UserError("nothing to evaluate: name a run directory or a file of predictions")
    if double := [name for name, times in Counter(system.name for system in systems).items() if times > 1]:
        raise UserError(f"two systems have the same name: {', '.join(double)}")
    clusters = single_questions(questions.index) if intervals == "question" else cluster_ids(questions)
    first, *others = rows = tuple(_scored(system, questions, intervals, clusters) for system in systems)
    comparisons = {}
    for other in others if intervals else ():
        comparisons[first.name, other.name] = (
            compare(first.frame, other.frame)
            if intervals == "question"
            else compare_frames(first.frame, other.frame, clusters, question_classes(first.frame), margin)
        )
    credits = pd.DataFrame({CHANCE: Options.of(questions).credit()}) if baselines is None else baselines
    above = tuple(
        _baseline(name, credits[name], questions, clusters if intervals else None) for name in credits.columns
    )
    gains = {row.name: _gains(row, credits, clusters) for row in rows} if intervals and baselines is not None else {}
    theirs = published_rows().astype(object).where(lambda rows: rows.notna(), None).iterrows() if published else ()
    below = tuple(
        Row(name=row["system"], digits=row[list(TABLE_COLUMNS)].to_dict(), source=row["source"]) for _, row in theirs
    )
    every = (*credits.items(), *((row.name, row.frame["correct"].astype(float)) for row in rows))
    further = {
        kind: {name: _further(credit, masks, clusters if intervals else None) for name, credit in every}
        for kind, masks in (classes or {}).items()
    }
    return ResultTable(title, rows, below, above, comparisons, gains, further, intervals, margin)


def _further(credit: pd.Series, classes: Mapping[str, pd.Series], clusters: pd.Series | None) -> pd.DataFrame:
    scores = credit_by_class(credit, classes)
    if clusters is None:
        return scores
    return scores.join(estimates.accuracy_intervals(credit, clusters, classes)[["low", "high"]])


def _baseline(name: str, credit: pd.Series, questions: pd.DataFrame, clusters: pd.Series | None) -> BaselineRow:
    classes = question_classes(questions)
    scores = credit_by_class(credit, classes)["accuracy"]
    return BaselineRow(
        name=name,
        digits={column: digits(accuracy) for column, accuracy in scores.items()},
        source="no model",
        credit=credit,
        intervals=None
        if clusters is None
        else estimates.accuracy_intervals(credit, clusters, classes)[["low", "high"]],
    )


def _gains(row: ScoredRow, credits: pd.DataFrame, clusters: pd.Series) -> pd.DataFrame:
    """A system against the best baseline of each column, which is picked on the same questions.

    Returns:
        One row for each column without a dash: `baseline`, its `accuracy`, `n`, `difference` in points with `low`,
        `high`, and `p`.
    """
    rows = {}
    for column, mask in question_classes(row.frame).items():
        if mask.isna().any() or not mask.any():
            continue
        member = mask.astype(bool)
        best = credits[member].mean().idxmax()
        found = estimates.estimate_difference(
            row.frame.loc[member, "correct"].astype(float), credits.loc[member, best], clusters
        )
        low, high = found.interval()
        rows[column] = {
            "baseline": best,
            "accuracy": 100 * credits.loc[member, best].mean(),
            "n": found.n,
            "difference": found.value,
            "low": low,
            "high": high,
            "p": found.p(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _scored(system: Predictions, questions: pd.DataFrame, unit: Unit | None, clusters: pd.Series) -> ScoredRow:
    frame = answered(questions, system.frame, system.name)
    scores = accuracy_by_class(frame)
    unparsed = system.frame["unparsed"].notna()
    known = unparsed.any() or system.frame["output"].notna().any()
    intervals = None
    if unit == "question":
        intervals = accuracy_intervals(frame)
    elif unit == "wording":
        credit = frame["correct"].astype(float)
        intervals = estimates.accuracy_intervals(credit, clusters, question_classes(frame))[["low", "high"]]
    return ScoredRow(
        name=system.name,
        digits={column: digits(accuracy) for column, accuracy in scores["accuracy"].items()},
        source=system.source,
        rule=system.rule,
        notes=system.notes,
        frame=frame,
        scores=scores,
        intervals=intervals,
        unparsed=int(unparsed.sum()) if known else None,
        random_credit=random_credit(frame["unparsed"].notna(), frame["n_choices"]) if known else None,
    )
