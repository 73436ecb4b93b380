"""Bootstrap intervals, and paired comparison of two systems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import accuracy_by_class, question_classes

LEVEL = 0.95


class Interval(NamedTuple):
    """An interval in percent; NaN without questions."""

    low: float
    high: float


def accuracy_interval(correct: int, n: int, level: float = LEVEL) -> Interval:
    """Compute the percentile bootstrap over questions, exactly and without sampling.

    n questions drawn with replacement from n, of which `correct` are right, hold Binomial(n, correct / n) right
    ones: the quantiles of the bootstrap are that distribution's, exactly. If all or none are right, it has no
    spread at all; there the exact bound of Clopper and Pearson takes its place.
    """
    from scipy import stats

    if n == 0:
        return Interval(float("nan"), float("nan"))
    tail = (1 - level) / 2
    if correct in (0, n):
        exact = stats.binomtest(correct, n).proportion_ci(level, method="exact")
        return Interval(exact.low * 100, exact.high * 100)
    low, high = stats.binom.ppf([tail, 1 - tail], n, correct / n) / n * 100
    return Interval(float(low), float(high))


def accuracy_intervals(frame: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Compute the interval of every cell in a system's row.

    Args:
        frame: one system's error frame.
        level: of confidence.

    Returns:
        Indexed by the paper's columns: `low`, `high` in percent, NaN where the table has a dash.
    """
    scores = accuracy_by_class(frame)
    cells = [accuracy_interval(row.correct, row.n if row.unknown == 0 else 0, level) for row in scores.itertuples()]
    return pd.DataFrame(cells, index=scores.index, columns=["low", "high"])


def compare(
    frame_a: pd.DataFrame,
    frame_b: pd.DataFrame,
    *,
    by: str | Mapping[str, pd.Series] | None = None,
    level: float = LEVEL,
    samples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare two systems on the same questions.

    The test is McNemar's (`mcnemar`). The interval of the difference is the percentile bootstrap over questions; where
    they never differ, the exact bound on how often they would.

    Args:
        frame_a, frame_b: their error frames.
        by: a column of the frames, a row being one of its values, or boolean masks over them by name; the paper's
            columns if left out.
        level: of confidence.
        samples, seed: of the bootstrap.

    Returns:
        A row a class of questions, those without questions left out: `n`, `both_right`, `only_a`, `only_b`,
        `both_wrong`, `difference` (accuracy of a minus b, in points), `low`, `high`, `p`, and `p_holm`: p
        corrected by Holm for as many classes as there are, Avg not among them. Classes in which the table has a
        dash are left out too; by a column, questions where it is unknown are.

    Raises:
        UserError: the frames are not over the same questions.
    """
    if set(frame_a.index) != set(frame_b.index):
        common = len(set(frame_a.index) & set(frame_b.index))
        raise UserError(
            f"two systems are compared on the same questions: {len(frame_a)} and {len(frame_b)}, {common} common"
        )
    right_a = frame_a["correct"].astype(bool)
    right_b = frame_b["correct"].astype(bool).loc[frame_a.index]
    outcomes = {
        "both_right": right_a & right_b,
        "only_a": right_a & ~right_b,
        "only_b": ~right_a & right_b,
        "both_wrong": ~right_a & ~right_b,
    }
    rng = np.random.default_rng(seed)
    rows = {}
    classes = _groups(frame_a[by]) if isinstance(by, str) else question_classes(frame_a) if by is None else by
    for name, mask in classes.items():
        member = mask.fillna(False).astype(bool)
        counts = {outcome: int((member & which).sum()) for outcome, which in outcomes.items()}
        n = sum(counts.values())
        if n == 0 or (not isinstance(by, str) and mask.isna().any()):
            continue
        # Resampled questions fall into the four outcomes as a multinomial draw: no question need be drawn.
        drawn = rng.multinomial(n, np.array(list(counts.values())) / n, size=samples)
        differences = (drawn[:, 1] - drawn[:, 2]) / n * 100
        low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
        a, b = counts["only_a"], counts["only_b"]
        if a + b == 0:  # no spread: the bound on how often they differ bounds the difference
            high = accuracy_interval(0, n, level).high
            low = -high
        rows[name] = {"n": n, **counts, "difference": (a - b) / n * 100, "low": low, "high": high, "p": mcnemar(a, b)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    family = table.index != "Avg"
    table.loc[family, "p_holm"] = holm(table.loc[family, "p"].to_numpy())
    return table


def mcnemar(only_a: int, only_b: int) -> float:
    """p value of McNemar's exact test: whether the questions that only one system answers are evenly split."""
    from scipy import stats

    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p: np.ndarray) -> np.ndarray:
    """Correct p values for their number, by Holm's step-down procedure."""
    order = np.argsort(p)
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(stepped, 1)
    return corrected


def _groups(values: pd.Series) -> Mapping[str, pd.Series]:
    return {str(value): values == value for value in sorted(values.dropna().unique())}
