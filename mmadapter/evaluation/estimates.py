"""Intervals over clusters and seeds, for numbers over questions that share their words.

Questions of one wording are a cluster (`wordings`): a system that gets one right tends to get the others right. An
interval over single questions takes them for independent and comes out too short. Here whole wordings are the units,
and training seeds too where there are several. S seeds, C clusters, Q questions.

`estimate_accuracy` and `estimate_difference` (*cluster-t*) take the variance between clusters, add that between seeds,
and use Student's t with the degrees of freedom that clusters of unequal size leave. With few clusters or few seeds the
bootstrap (`resampling`) is too short: `eval/results/coverage.json` holds how often each method covers the truth.

Numbers are percent and points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.clusters import Credit, cluster_codes, cluster_sums, credit_matrix
from mmadapter.evaluation.statistics import LEVEL


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number from a sample of questions, and how far it may be off."""

    value: float
    """In percent or points; the mean over seeds. NaN without questions."""
    error: float
    """Standard error; NaN where it cannot be told, from a single cluster."""
    freedom: float
    """Degrees of freedom of that error."""
    n: int
    """Questions."""
    clusters: int
    effective: float
    """Clusters of one size that would weigh the same: Q^2 / sum of squared sizes."""
    seeds: int
    unit: str
    """The kind of cluster: "wording" or "question"."""

    @property
    def over(self) -> str:
        """Over what the error is: what would be drawn anew in another experiment."""
        return f"{self.unit}s and {self.seeds} seeds" if self.seeds > 1 else f"{self.unit}s alone, one seed"

    def quantile(self, level: float = LEVEL) -> float:
        """Student's t, two-sided."""
        from scipy import special

        return float(special.stdtrit(self.freedom, (1 + level) / 2))


@dataclass(frozen=True, kw_only=True)
class Accuracy(Estimate):
    """In percent."""

    whole: bool
    """Every credit is 0 or 1."""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The accuracies that the sample does not contradict, in percent: Wilson's interval with t in place of z.

        The number of questions in it is the effective one, p (1 - p) / error^2: independent questions that would be as
        informative. Where all are right or all wrong the error says nothing and the effective clusters take its place.
        """
        if math.isnan(self.error):
            return math.nan, math.nan
        p, variance = self.value / 100, (self.error / 100) ** 2
        if self.whole and (variance == 0 or p in (0, 1)):
            number = self.effective
        elif variance == 0:  # one fraction everywhere, as chance among questions of two options: it is no sample
            return self.value, self.value
        else:
            number = p * (1 - p) / variance
            number = min(number, self.n * self.seeds) if self.whole else number
        square = self.quantile(level) ** 2 / number
        centre, half = p + square / 2, math.sqrt(square * (p * (1 - p) + square / 4))
        low, high = ((centre + sign * half) / (1 + square) for sign in (-1, 1))
        return max(low, 0.0) * 100, min(high, 1.0) * 100


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """The difference of two systems on the same questions, in points: the first minus the second."""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The differences that the sample does not contradict, in points.

        Where all questions differ alike, as where the two never differ, the exact bound of Clopper and Pearson on how
        often one would not, with the effective clusters as its number of trials.
        """
        half = self._bound((1 - level) / 2) if self.error == 0 else self.quantile(level) * self.error
        return max(self.value - half, -100.0), min(self.value + half, 100.0)

    def p(self) -> float:
        """p of the difference being 0, two-sided; it is below 1 - level exactly where the interval excludes 0."""
        return math.nan if math.isnan(self.error) else min(1.0, 2 * self._above(abs(self.value)))

    def p_not_worse(self, margin: float) -> float:
        """p of the first being worse by `margin` points or more: non-inferiority if small."""
        return self._above(self.value + margin)

    def p_equivalent(self, margin: float) -> float:
        """p of two one-sided tests (TOST): of the two differing by `margin` points or more, either way.

        Raises:
            UserError: the margin is not above 0: equivalence within nothing cannot be shown.
        """
        if not margin > 0:
            raise UserError(f"the margin is {margin} points: it must be above 0, and stated before looking")
        return max(self._above(self.value + margin), self._above(margin - self.value))

    def _above(self, distance: float) -> float:
        """p of an estimate this far above the boundary or farther."""
        from scipy import special

        if self.error == 0:  # the tail for which the bound just reaches the boundary
            return (1 - min(max(distance / 100, 0), 1)) ** self.effective
        return float(special.stdtr(self.freedom, -distance / self.error))

    def _bound(self, tail: float) -> float:
        return 100 * (1 - tail ** (1 / self.effective))


def estimate_accuracy(credit: Credit, clusters: pd.Series) -> Accuracy:
    """The accuracy of a system.

    Args:
        credit: of the questions, by pid: of one run, or a column a training seed.
        clusters: the cluster of each, its name what a cluster is: `wordings.cluster_ids` or `single_questions`.

    Raises:
        UserError: the two are not over the same questions.
    """
    values = credit_matrix(credit)
    whole = bool(np.isin(values, (0, 1)).all())
    return Accuracy(
        **_moments(values, cluster_codes(credit.index, clusters), 0.0), unit=str(clusters.name), whole=whole
    )


def estimate_difference(credit_a: Credit, credit_b: Credit, clusters: pd.Series) -> Difference:
    """The accuracy of one system minus another's, question by question and seed by seed.

    Args:
        credit_a, credit_b: by pid. If both have several seeds, they must be the same ones, by column: the two runs of
            a seed are a pair. If one has a single column it is set against every seed of the other, and what another
            seed of it would do is not in the error: it is meant for baselines and for the predictions of others.
        clusters: as for `estimate_accuracy`.

    Raises:
        UserError: not the same questions, or several seeds that are not the same.
    """
    if not credit_a.index.sort_values().equals(credit_b.index.sort_values()):
        raise UserError(
            f"two systems are compared on the same questions: {len(credit_a)} and {len(credit_b)} are given"
        )
    credit_b = credit_b.loc[credit_a.index]
    a, b = credit_matrix(credit_a), credit_matrix(credit_b)
    if a.shape[1] > 1 and b.shape[1] > 1:
        assert isinstance(credit_a, pd.DataFrame)
        assert isinstance(credit_b, pd.DataFrame)
        if set(credit_a.columns) != set(credit_b.columns):
            told = [", ".join(map(str, credit.columns)) for credit in (credit_a, credit_b)]
            raise UserError(f"two systems are compared seed by seed: one has {told[0]}, the other {told[1]}")
        b = credit_matrix(credit_b[list(credit_a.columns)])
    return Difference(**_moments(a - b, cluster_codes(credit_a.index, clusters), -1.0), unit=str(clusters.name))


def accuracy_intervals(
    credit: Credit, clusters: pd.Series, classes: Mapping[str, pd.Series], level: float = LEVEL
) -> pd.DataFrame:
    """The interval of every class, as `statistics.accuracy_intervals` gives it over questions.

    Args:
        classes: boolean masks by name, <NA> where a question may be in the class.

    Returns:
        Indexed by class: `low`, `high` in percent, and `clusters`. NaN for a class without questions, with a question
        that may be in it, or with a single cluster.
    """
    rows = {}
    for name, mask in classes.items():
        member = mask.fillna(False).astype(bool).loc[credit.index]
        if mask.isna().any() or not member.any():
            rows[name] = (math.nan, math.nan, 0)
            continue
        found = estimate_accuracy(credit[member], clusters)
        rows[name] = (*found.interval(level), found.clusters)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["low", "high", "clusters"])


def _moments(values: np.ndarray, codes: np.ndarray, least: float) -> dict[str, Any]:
    """The fields of an `Estimate`, from Q x S values between `least` and 1.

    With e_c the sum of a cluster minus what its size would give, the variance of the mean is the sum of e_c^2 over Q^2,
    each square scaled by how much it is expected to fall short because e_c is taken off the sample's own mean. To that
    end, and for the degrees of freedom, a cluster's sum is held to vary as n_c (1 + (n_c - 1) r), r the correlation
    within clusters. The variance of seeds is that of their means over S, less the part that comes from clusters falling
    differently with each seed, which is in the first already; never below 0. Degrees of freedom are Satterthwaite's:
    those of the sum of squares, and S - 1 for seeds; at least 1.
    """
    n, seeds = values.shape
    if n == 0:
        nothing = {"value": math.nan, "error": math.nan, "freedom": math.nan, "effective": math.nan}
        return {**nothing, "n": 0, "clusters": 0, "seeds": seeds}
    sums, sizes = cluster_sums(values, codes)
    clusters = len(sizes)
    mean = sums.sum(axis=0) / n
    value = mean.mean()
    effective = n**2 / (sizes**2).sum()
    common = {"value": float(value) * 100, "n": n, "clusters": clusters, "effective": float(effective), "seeds": seeds}
    if clusters == 1:  # nothing says how much another would differ
        return {**common, "error": math.nan, "freedom": math.nan}
    excess = sums - value * sizes[:, None]
    of_cluster = excess.mean(axis=1)
    correlation = _correlation(values.mean(axis=1) - value, of_cluster / sizes, codes, sizes)
    expected = sizes * (1 + (sizes - 1) * correlation)
    about_mean = expected * (1 - 2 * sizes / n) + expected.sum() * (sizes / n) ** 2
    of_clusters = float((of_cluster**2 * expected / about_mean).sum()) / n**2
    tails = _kurtosis(value, correlation * float(((values.mean(axis=1) - value) ** 2).mean()), least)
    of_clusters_freedom = min(2 / (tails - 1) * expected.sum() ** 2 / (expected**2).sum(), clusters - 1)
    variance, doubt = of_clusters, of_clusters**2 / of_clusters_freedom
    if seeds > 1:
        of_seeds = ((mean - value) ** 2).sum() / (seeds * (seeds - 1))
        both = (excess - excess.mean(axis=1, keepdims=True) - (mean - value) * sizes[:, None]) / n
        of_both = (both**2).sum() / (seeds * (seeds - 1)) * clusters / (clusters - 1)
        if of_seeds > of_both:
            variance += of_seeds - of_both
            doubt += of_seeds**2 / (seeds - 1) + of_both**2 / ((seeds - 1) * (clusters - 1))
    freedom = variance**2 / doubt if doubt else of_clusters_freedom
    return {**common, "error": math.sqrt(variance) * 100, "freedom": max(float(freedom), 1.0)}


def _correlation(off: np.ndarray, off_cluster: np.ndarray, codes: np.ndarray, sizes: np.ndarray) -> float:
    """Between two questions of one cluster, from 0 to 1, by analysis of variance: a large cluster that stands apart
    weighs less in it than in the variance itself.

    Args:
        off, off_cluster: how far each of Q questions, and the mean of each of C clusters, is off the mean of all.
    """
    n, clusters = len(off), len(sizes)
    if n == clusters:
        return 0.0
    between = (sizes * off_cluster**2).sum() / (clusters - 1)
    within = ((off - off_cluster[codes]) ** 2).sum() / (n - clusters)
    typical = (n - (sizes**2).sum() / n) / (clusters - 1)
    total = between + (typical - 1) * within
    return float(min(max((between - within) / total, 0.0), 1.0)) if total > 0 else 0.0


def _kurtosis(mean: float, variance: float, least: float) -> float:
    """Return the kurtosis of large clusters' means: a beta distribution's between `least` and 1, held to 2 to 3.

    An accuracy cannot leave 0 to 1, so its tails are light and a sum of squares varies less than of normal values.
    """
    middle, width = (mean - least) / (1 - least), 1 - least
    room = middle * (1 - middle)
    if variance <= 0 or room <= 0:
        return 3.0
    concentration = max(room * width**2 / variance - 1, 0.0)
    excess = 6 * ((concentration + 1) * (1 - 2 * middle) ** 2 - room * (concentration + 2))
    return float(np.clip(3 + excess / (room * (concentration + 2) * (concentration + 3)), 2, 3))
