"""The table of results: scored systems, published rows, and what the numbers rest on. `render` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class, digits, published_rows
from mmadapter.evaluation.calibration import expected_calibration_error
from mmadapter.evaluation.frame import answered
from mmadapter.evaluation.predictions import Predictions
from mmadapter.evaluation.reliance import Controls
from mmadapter.evaluation.rules import random_credit
from mmadapter.evaluation.statistics import accuracy_intervals, compare

REFERENCE_LEVELS = frozenset({"Human", "Random Choice", "ceiling"})
"""Rows that are not systems: they never hold the best number of a column."""


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
    comparisons: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    """`compare` of the first system with each other one, if intervals were requested."""
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
    intervals: bool = False,
    published: bool = False,
) -> ResultTable:
    """Score predictions and put them into one table.

    Args:
        systems: each over all `questions`.
        questions: `frame.question_frame` of the split.
        title: data set and split, such as "scienceqa test".
        intervals: compute the interval of every cell, and compare the first system with each other one.
        published: append the paper's Table 2.

    Raises:
        UserError: no system, two with the same name, or predictions that do not fit the questions.
    """
    if not systems:
        raise UserError("nothing to evaluate: name a run directory or a file of predictions")
    if double := [name for name, times in Counter(system.name for system in systems).items() if times > 1]:
        raise UserError(f"two systems have the same name: {', '.join(double)}")
    first, *others = rows = tuple(_scored(system, questions, intervals) for system in systems)
    comparisons = {(first.name, other.name): compare(first.frame, other.frame) for other in others if intervals}
    theirs = published_rows().astype(object).where(lambda rows: rows.notna(), None).iterrows() if published else ()
    below = tuple(
        Row(name=row["system"], digits=row[list(TABLE_COLUMNS)].to_dict(), source=row["source"]) for _, row in theirs
    )
    return ResultTable(title, rows, below, comparisons)


def _scored(system: Predictions, questions: pd.DataFrame, intervals: bool) -> ScoredRow:
    frame = answered(questions, system.frame, system.name)
    scores = accuracy_by_class(frame)
    unparsed = system.frame["unparsed"].notna()
    known = unparsed.any() or system.frame["output"].notna().any()
    return ScoredRow(
        name=system.name,
        digits={column: digits(accuracy) for column, accuracy in scores["accuracy"].items()},
        source=system.source,
        rule=system.rule,
        frame=frame,
        scores=scores,
        intervals=accuracy_intervals(frame) if intervals else None,
        unparsed=int(unparsed.sum()) if known else None,
        random_credit=random_credit(frame["unparsed"].notna(), frame["n_choices"]) if known else None,
    )
