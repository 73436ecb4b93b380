"""The table of results: systems, published rows, and what their numbers rest on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class, published_rows
from mmadapter.evaluation.calibration import expected_calibration_error
from mmadapter.evaluation.frame import answer_frame
from mmadapter.evaluation.predictions import Predictions
from mmadapter.evaluation.reliance import Controls
from mmadapter.evaluation.rules import random_credit
from mmadapter.evaluation.statistics import accuracy_intervals, compare

REFERENCE_LEVELS = frozenset({"Human", "Random Choice", "ceiling"})
"""Rows that are not systems, and never the best of a column."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One system's line."""

    name: str
    digits: dict[str, str | None]
    """Accuracy as printed, by column; None where a table has a dash."""
    source: str
    """The predictions' file, or the publication."""
    rule: str | None = None
    """Rule that read the answers; None for a published row."""
    unparsed: int | None = None
    """Number of answers that the rule could not read; None if unknown."""
    random_credit: float | None = None
    """Points of Avg that a random option for each unparsed answer is worth; None if unknown."""
    scores: pd.DataFrame | None = None
    """`accuracy_by_class`; None for a published row."""
    intervals: pd.DataFrame | None = None
    """`accuracy_intervals`, if asked for."""
    calibration_error: float | None = None
    """Calibration error of the option probabilities, as a fraction; None without any."""


@dataclass(frozen=True)
class ResultTable:
    """Rows over the same questions, and published rows."""

    title: str
    """Data set and split."""
    rows: tuple[Row, ...]
    published: tuple[Row, ...] = ()
    comparisons: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    """`compare` of the first system with each other one, if intervals were asked for."""
    controls: tuple[Controls, ...] = ()
    """Controls of the systems whose models were asked under other conditions."""

    def best(self) -> dict[str, str]:
        """The best number of each column in which two systems or more have one."""
        rows = [row for row in (*self.rows, *self.published) if row.name not in REFERENCE_LEVELS]
        columns = {column: [digits for row in rows if (digits := row.digits[column])] for column in TABLE_COLUMNS}
        return {column: max(digits, key=float) for column, digits in columns.items() if len(digits) > 1}

    def n_questions(self) -> int:
        """Number of scored questions."""
        return int(self.counts().loc["Avg", "n"])

    def counts(self) -> pd.DataFrame:
        """The scores of the first row; `n` and `unknown` are the same in all rows."""
        scores = self.rows[0].scores
        assert scores is not None  # only a published row has none
        return scores


def result_table(
    systems: Sequence[Predictions],
    questions: pd.DataFrame,
    *,
    title: str,
    intervals: bool = False,
    published: bool = False,
) -> ResultTable:
    """Score predictions and put them into one table.

    Args:
        systems: each over all `questions`.
        questions: `frame.question_frame` of the split.
        title: what was asked, as "scienceqa test".
        intervals: compute the interval of every cell, and compare the first system with each other one.
        published: put the paper's Table 2 below.

    Raises:
        UserError: no system, two of one name, or predictions that do not fit the questions.
    """
    if not systems:
        raise UserError("nothing to evaluate: name a run directory or a file of predictions")
    if double := [name for name, times in Counter(system.name for system in systems).items() if times > 1]:
        raise UserError(f"two systems of one name: {', '.join(double)}")
    frames = {s.name: questions.join(answer_frame(s.frame, questions, s.name)) for s in systems}
    rows = tuple(_row(system, frames[system.name], intervals) for system in systems)
    first, *others = frames
    comparisons = {(first, other): compare(frames[first], frames[other]) for other in others if intervals}
    theirs = tuple(_published_row(row) for _, row in published_rows().iterrows()) if published else ()
    return ResultTable(title, rows, theirs, comparisons)


def unparsed_count(predictions: pd.DataFrame) -> int | None:
    """Count the answers that did not parse; None if a frame holds neither texts nor reasons."""
    known = predictions["output"].notna().any() or predictions["unparsed"].notna().any()
    return int(predictions["unparsed"].notna().sum()) if known else None


def _row(system: Predictions, frame: pd.DataFrame, intervals: bool) -> Row:
    scores = accuracy_by_class(frame)
    unparsed = unparsed_count(system.frame)
    error = expected_calibration_error(frame)
    return Row(
        name=system.name,
        digits={column: _digits(scores.loc[column, "accuracy"]) for column in TABLE_COLUMNS},
        source=system.source,
        rule=system.rule,
        unparsed=unparsed,
        random_credit=None if unparsed is None else random_credit(frame["unparsed"].notna(), frame["n_choices"]),
        scores=scores,
        intervals=accuracy_intervals(frame) if intervals else None,
        calibration_error=None if math.isnan(error) else error,
    )


def _published_row(row: pd.Series) -> Row:
    digits = {column: None if pd.isna(row[column]) else row[column] for column in TABLE_COLUMNS}
    return Row(name=row["system"], digits=digits, source=row["source"])


def _digits(percent: float) -> str | None:
    return None if math.isnan(percent) else f"{percent:.2f}"
