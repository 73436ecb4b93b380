"""A system's confidence against its accuracy: does it know when it is right?

Confidence is the probability of the predicted option, NaN for a system without probabilities.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

BINS = 10
"""Bins of equal width, as in the reliability diagrams of Guo et al. (2017); their calibration error uses 15."""


def reliability(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Return the reliability diagram.

    Args:
        frame: one system's error frame; questions without confidence are left out.
        bins: number of bins over [0, 1]; each includes its lower edge, the last one both.

    Returns:
        A row for each bin: `low`, `high`, `n`, mean `confidence` and `accuracy` as fractions, NaN if the bin is empty.
    """
    known = frame.loc[frame["confidence"].notna(), ["confidence", "correct"]].astype(float)
    edges = np.linspace(0, 1, bins + 1)
    binned = known.groupby(np.digitize(known["confidence"], edges[1:-1]))
    table = binned.mean().reindex(range(bins)).rename(columns={"correct": "accuracy"})
    counts = binned.size().reindex(range(bins), fill_value=0)
    return table.assign(low=edges[:-1], high=edges[1:], n=counts)[["low", "high", "n", "confidence", "accuracy"]]


def expected_calibration_error(frame: pd.DataFrame, bins: int = BINS) -> float:
    """Return the mean distance of confidence and accuracy over the bins, weighted by n; NaN without confidences."""
    table = reliability(frame, bins)
    if not table["n"].sum():
        return float("nan")
    gap = (table["confidence"] - table["accuracy"]).abs().fillna(0)
    return float((gap * table["n"]).sum() / table["n"].sum())


def risk_coverage(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the error rate if only the most confident questions were answered.

    Returns:
        A row for each distinct confidence, falling: `confidence`, `coverage` (the fraction of questions with at
        least this confidence) and `risk` (the fraction of those answered wrong). Ties share a row, because their
        order is arbitrary.
    """
    known = frame.loc[frame["confidence"].notna(), ["confidence", "correct"]].astype(float)
    known = known.sort_values("confidence", ascending=False, kind="stable", ignore_index=True)
    answered = np.arange(1, len(known) + 1)
    curve = pd.DataFrame(
        {
            "confidence": known["confidence"],
            "coverage": answered / max(len(known), 1),
            "risk": (1 - known["correct"]).cumsum() / answered,
        }
    )
    return curve.drop_duplicates("confidence", keep="last", ignore_index=True)
