"""Comparisons of systems, and what may be concluded from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from mmadapter.evaluation.clusters import Credit, credit_matrix
from mmadapter.evaluation.estimates import Difference, estimate_difference
from mmadapter.evaluation.resampling import sign_flip
from mmadapter.evaluation.statistics import holm, mcnemar

ALPHA = 0.05
"""Error rate of a verdict."""


def compare_by_class(
    credit_a: Credit, credit_b: Credit, clusters: pd.Series, classes: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """Two systems on the same questions, class by class, as `statistics.compare` does it over questions.

    Args:
        credit_a, credit_b, clusters: as for `estimate_difference`.
        classes: boolean masks by name; those without questions and those with <NA> are left out.

    Returns:
        A row a class: `n`, `clusters`, `difference` in points, `low`, `high` (95 %), `p` of no difference, `p_holm`
        corrected for as many classes as there are (Avg not among them: NaN), `p_flip` of `sign_flip`, and `p_mcnemar`
        over single questions, NaN where there are fractions or several seeds.
    """
    rows: dict[str, dict[str, float]] = {}
    single = all(
        np.isin(each, (0, 1)).all() and each.shape[1] == 1 for each in map(credit_matrix, (credit_a, credit_b))
    )
    for name, mask in classes.items():
        if mask.isna().any() or not mask.any():
            continue
        member = mask.astype(bool).loc[credit_a.index]
        a, b = credit_a[member], credit_b.loc[credit_a.index][member]
        found = estimate_difference(a, b, clusters)
        low, high = found.interval()
        apart = (credit_matrix(a) - credit_matrix(b))[:, 0] if single else np.array([])
        rows[name] = {
            "n": found.n,
            "clusters": found.clusters,
            "difference": found.value,
            "low": low,
            "high": high,
            "p": found.p(),
            "p_flip": sign_flip(a, b, clusters),
            "p_mcnemar": mcnemar(int((apart > 0).sum()), int((apart < 0).sum())) if single else math.nan,
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    family = [name for name in rows if name != "Avg"]
    table.loc[family, "p_holm"] = _holm([rows[name]["p"] for name in family])
    return table


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The conclusion of comparing two systems."""

    word: Literal["better", "worse", "equivalent", "inconclusive"]
    difference: Difference
    low: float
    high: float
    """The 95 % interval of the difference, in points; it is not corrected for the family."""
    p: float
    """p of no difference; corrected where `family` is above 1."""
    family: int
    """Verdicts among which p was corrected by Holm; 1: not corrected."""
    margin: float | None
    """In points, stated beforehand; None: equivalence was not asked for."""
    p_equivalent: float | None
    """p of a difference of the margin or more, corrected like `p`; None without a margin."""

    @property
    def words(self) -> str:
        """The word, and for equivalence within what."""
        return f"equivalent within {self.margin:g} points" if self.word == "equivalent" else self.word

    def __str__(self) -> str:
        among = f"corrected among {self.family} (Holm)" if self.family > 1 else "not corrected"
        told = f"{self.words}: {self.difference.value:+.2f} points, 95 % from {self.low:+.2f} to {self.high:+.2f}"
        return f"{told} over {self.difference.over}; p {self.p:.2g}, {among}"


def verdict(difference: Difference, margin: float | None = None) -> Verdict:
    """The verdict on one comparison that was fixed beforehand; see `verdicts`."""
    return verdicts({"": difference}, margin)[""]


def verdicts(differences: Mapping[str, Difference], margin: float | None = None) -> dict[str, Verdict]:
    """The verdicts on a family of comparisons, corrected for their number by Holm's procedure.

    "better" and "worse": the corrected p of no difference is below 0.05. "equivalent": it is not, and that of a
    difference of `margin` or more is. "inconclusive": neither; it never means that two are equally good.

    Args:
        differences: by name.
        margin: points that do not matter, stated before looking; without it nothing is called equivalent.
    """
    family = len(differences)
    p = dict(zip(differences, _holm([each.p() for each in differences.values()]), strict=True))
    same: dict[str, float] = {}
    if margin is not None:
        same = dict(zip(differences, _holm([each.p_equivalent(margin) for each in differences.values()]), strict=True))
    found = {}
    for name, each in differences.items():
        word: Literal["better", "worse", "equivalent", "inconclusive"] = "inconclusive"
        if p[name] < ALPHA:
            word = "better" if each.value > 0 else "worse"
        elif same.get(name, 1.0) < ALPHA:
            word = "equivalent"
        low, high = each.interval()
        found[name] = Verdict(
            word=word,
            difference=each,
            low=low,
            high=high,
            p=p[name],
            family=family,
            margin=margin,
            p_equivalent=same.get(name),
        )
    return found


def _holm(p: Sequence[float]) -> list[float]:
    """A p that is unknown stays so and counts as a comparison all the same."""
    given = np.array(p, dtype=float)
    corrected = holm(np.where(np.isnan(given), 1.0, given))
    return np.where(np.isnan(given), np.nan, corrected).tolist()
