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
from mmadapter.evaluation.statistics import compare, holm, mcnemar

ALPHA = 0.05
"""Error rate of a verdict."""


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


def compare_by_class(
    credit_a: Credit,
    credit_b: Credit,
    clusters: pd.Series,
    classes: Mapping[str, pd.Series],
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare two systems on the same questions, class by class, as `statistics.compare` does it over questions.

    Args:
        credit_a, credit_b, clusters: as for `estimate_difference`.
        classes: boolean masks by name; those without questions and those with <NA> are left out.
        margin: points that do not matter, for `verdicts`.

    Returns:
        A row a class: `n`, `clusters`, `difference` in points, `low`, `high` (95 %), `p` of no difference, `p_holm`
        corrected for as many classes as there are (Avg not among them: NaN), `verdict` by the corrected p (Avg by its
        own), `p_flip` of `sign_flip`, and `p_mcnemar` over single questions, NaN where there are fractions or several
        seeds.
    """
    members = {
        name: mask.astype(bool).loc[credit_a.index]
        for name, mask in classes.items()
        if not mask.isna().any() and mask.any()
    }
    credit_b = credit_b.loc[credit_a.index]
    found = {name: estimate_difference(credit_a[m], credit_b[m], clusters) for name, m in members.items()}
    told = verdicts({name: each for name, each in found.items() if name != "Avg"}, margin)
    if "Avg" in found:
        told |= {"Avg": verdict(found["Avg"], margin)}
    a, b = credit_matrix(credit_a), credit_matrix(credit_b)
    single = all(np.isin(each, (0, 1)).all() and each.shape[1] == 1 for each in (a, b))
    rows = {}
    for name, member in members.items():
        apart = (a - b)[member.to_numpy(), 0] if single else np.array([])
        rows[name] = {
            "n": found[name].n,
            "clusters": found[name].clusters,
            "difference": found[name].value,
            "low": told[name].low,
            "high": told[name].high,
            "p": found[name].p(),
            "p_holm": told[name].p if name != "Avg" else math.nan,
            "verdict": told[name].words,
            "p_flip": sign_flip(credit_a[member], credit_b[member], clusters),
            "p_mcnemar": mcnemar(int((apart > 0).sum()), int((apart < 0).sum())) if single else math.nan,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def compare_frames(
    frame_a: pd.DataFrame,
    frame_b: pd.DataFrame,
    clusters: pd.Series,
    classes: Mapping[str, pd.Series],
    margin: float | None = None,
) -> pd.DataFrame:
    """Compare two error frames class by class: outcomes of `statistics.compare`, intervals and tests over clusters.

    Args:
        clusters, classes, margin: as for `compare_by_class`.
    """
    table = compare(frame_a, frame_b, by=classes)
    credit_a, credit_b = (frame["correct"].astype(float) for frame in (frame_a, frame_b))
    found = compare_by_class(credit_a, credit_b, clusters, classes, margin)
    changed = ["low", "high", "p", "p_holm", "verdict"]
    return table.assign(p_mcnemar=table["p"], **{name: found.loc[table.index, name] for name in changed})


def _holm(p: Sequence[float]) -> list[float]:
    """A p that is unknown stays so and counts as a comparison all the same."""
    given = np.array(p, dtype=float)
    corrected = holm(np.where(np.isnan(given), 1.0, given))
    return np.where(np.isnan(given), np.nan, corrected).tolist()
