"""Intervals over single questions, and paired comparison of two systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import accuracy_by_class, question_classes, value_classes

LEVEL = 0.95
"""Confidence level of every interval."""

OUTCOMES = ("both_right", "only_a", "only_b", "both_wrong")
COMPARISON_COLUMNS = ["n", *OUTCOMES, "difference", "low", "high", "p"]


class Interval(NamedTuple):
    """Bounds in percent; NaN without questions."""

    low: float
    high: float


def accuracy_interval(correct: int, n: int) -> Interval:
    """Return the interval of an accuracy: the percentile bootstrap over questions, computed exactly.

    Of n questions drawn with replacement from n of which `correct` are right, Binomial(n, correct / n) are right:
    the bootstrap's quantiles are those of this distribution. If all or none are right it has no spread, and the
    exact bound of Clopper and Pearson takes its place.
    """
    from scipy import stats  # takes a second

    if n == 0:
        return Interval(float("nan"), float("nan"))
    if correct in (0, n):
        exact = stats.binomtest(correct, n).proportion_ci(LEVEL, method="exact")
        return Interval(exact.low * 100, exact.high * 100)
    tail = (1 - LEVEL) / 2
    low, high = stats.binom.ppf([tail, 1 - tail], n, correct / n) / n * 100
    return Interval(float(low), float(high))


def accuracy_intervals(frame: pd.DataFrame, classes: Mapping[str, pd.Series] | None = None) -> pd.DataFrame:
    """Return the interval of every accuracy of `accuracy_by_class`, which takes the same arguments.

    Returns:
        Indexed by class: `low`, `high` in percent, NaN where the table has a dash.
    """
    scores = accuracy_by_class(frame, classes)
    cells = [accuracy_interval(row.correct, 0 if row.unknown else row.n) for row in scores.itertuples()]
    return pd.DataFrame(cells, index=scores.index, columns=["low", "high"])


def compare(
    frame_a: pd.DataFrame,
    frame_b: pd.DataFrame,
    *,
    by: str | Mapping[str, pd.Series] | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two systems on the same questions.

    The test is McNemar's (`mcnemar`). The interval of the difference is the percentile bootstrap over questions; if
    the systems never differ, it is the exact bound on how often they would.

    Args:
        frame_a, frame_b: their error frames.
        by: a column of the frames, with a class for each of its values, or boolean masks over them by name; the
            paper's columns by default.
        samples, seed: of the bootstrap.

    Returns:
        A row for each class: `n`, `both_right`, `only_a`, `only_b`, `both_wrong`, `difference` (accuracy of a minus
        b, in points), `low`, `high`, `p`, and `p_holm`: p corrected by Holm for the number of classes, without Avg.
        Classes without questions or with a dash in the table are left out; by a column, so are the questions whose
        value is unknown.

    Raises:
        UserError: the frames are not over the same questions.
    """
    if set(frame_a.index) != set(frame_b.index):
        common = len(set(frame_a.index) & set(frame_b.index))
        raise UserError(
            f"two systems are compared on the same questions: {len(frame_a)} and {len(frame_b)}, {common} common"
        )
    classes = value_classes(frame_a[by]) if isinstance(by, str) else question_classes(frame_a) if by is None else by
    right_a = frame_a["correct"].astype(bool)
    right_b = frame_b["correct"].astype(bool).loc[frame_a.index]
    rng = np.random.default_rng(seed)
    rows = {
        name: _paired(right_a[mask.astype(bool)], right_b[mask.astype(bool)], samples, rng)
        for name, mask in classes.items()
        if not mask.isna().any() and mask.any()
    }
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COMPARISON_COLUMNS)
    family = table.index != "Avg"
    table.loc[family, "p_holm"] = holm(table.loc[family, "p"].to_numpy())
    return table


def _paired(right_a: pd.Series, right_b: pd.Series, samples: int, rng: np.random.Generator) -> dict[str, int | float]:
    """Return one row of `compare`, without `p_holm`."""
    outcomes = (right_a & right_b, right_a & ~right_b, ~right_a & right_b, ~right_a & ~right_b)
    n, counts = len(right_a), [int(outcome.sum()) for outcome in outcomes]
    _, only_a, only_b, _ = counts
    # resampled questions fall into the four outcomes as a multinomial draw: no question need be drawn
    drawn = rng.multinomial(n, np.array(counts) / n, size=samples)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 2]) / n * 100, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if only_a + only_b == 0:  # no spread: the bound on how often they differ bounds the difference
        high = accuracy_interval(0, n).high
        low = -high
    difference = (only_a - only_b) / n * 100
    return dict(zip(COMPARISON_COLUMNS, (n, *counts, difference, low, high, mcnemar(only_a, only_b)), strict=True))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return p of McNemar's exact test: are the questions that only one system answers evenly split?"""
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values corrected for their number by Holm's step-down procedure."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected
