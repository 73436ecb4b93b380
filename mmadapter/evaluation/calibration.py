"""Calibration: does a system's confidence match its accuracy?

Confidence is the probability of the predicted option. Frames without probabilities have none: NaN.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

BINS = 10
"""Number of bins of equal width. The reliability diagrams of Guo et al. (2017) have 10, their error 15."""


def reliability(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Compute the reliability diagram.

    Args:
        frame: one system's error frame; questions without confidence are left out.
        bins: of equal width over [0, 1]; a bin includes its lower edge, the last one both.

    Returns:
        A row a bin: `low`, `high`, `n`, mean `confidence` and `accuracy` as fractions, NaN in an empty bin.
    """
    confidence, correct = _known(frame)
    edges = np.linspace(0, 1, bins + 1)
    place = np.digitize(confidence, edges[1:-1])
    grouped = pd.DataFrame({"confidence": confidence, "accuracy": correct}).groupby(place)
    table = grouped.mean().reindex(range(bins))
    counts = grouped.size().reindex(range(bins), fill_value=0)
    return table.assign(low=edges[:-1], high=edges[1:], n=counts)[["low", "high", "n", "confidence", "accuracy"]]


def expected_calibration_error(frame: pd.DataFrame, bins: int = BINS) -> float:
    """Expected calibration error: mean distance of confidence and accuracy, weighted by questions; NaN without any."""
    table = reliability(frame, bins)
    if not table["n"].sum():
        return float("nan")
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float((gap * table["n"]).sum() / table["n"].sum())


def risk_coverage(frame: pd.DataFrame) -> pd.DataFrame:
    """Compute the error rate when only the most confident questions are answered.

    Returns:
        A row for every confidence that occurs, falling: `confidence`, `coverage` (fraction of the questions
        that have at least this confidence) and `risk` (fraction of those answered wrong). Ties are one row:
        their order would be chance.
    """
    confidence, correct = _known(frame)
    order = np.argsort(-confidence, kind="stable")
    answered = np.arange(1, len(order) + 1)
    curve = pd.DataFrame(
        {
            "confidence": confidence[order],
            "coverage": answered / max(len(order), 1),
            "risk": np.cumsum(~correct[order]) / answered,
        }
    )
    return curve.drop_duplicates("confidence", keep="last", ignore_index=True)


def _known(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    known = frame[frame["confidence"].notna()]
    return known["confidence"].to_numpy(dtype=float), known["correct"].to_numpy(dtype=bool)
