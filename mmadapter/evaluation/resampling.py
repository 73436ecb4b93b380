"""Bootstrap intervals and permutation tests over clusters of questions and over seeds."""

from __future__ import annotations

import itertools
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from mmadapter.evaluation.clusters import Credit, cluster_codes, cluster_sums, credit_matrix
from mmadapter.evaluation.statistics import LEVEL

SAMPLES = 2000
EXACT_CLUSTERS = 14
"""Up to so many clusters that differ, `sign_flip` tries every assignment of signs."""


def bootstrap_interval(
    credit: Credit,
    clusters: pd.Series,
    *,
    kind: Literal["percentile", "bca"] = "percentile",
    level: float = LEVEL,
    samples: int = SAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a mean by drawing clusters with replacement, and seeds too where there are several.

    Of a difference give `credit_a - credit_b`. `single_questions` as clusters gives the plain bootstrap.

    Args:
        credit: by pid, of one run or a column a seed.
        kind: quantiles of the drawn means, or corrected for bias and skewness (Efron's BCa, its acceleration from
            leaving out each cluster in turn).
        samples: drawn.

    Returns:
        Lower and upper bound in percent.
    """
    sums, sizes = cluster_sums(credit_matrix(credit), cluster_codes(credit.index, clusters))
    return bootstrap_bounds(sums, sizes, draw(len(sizes), sums.shape[1], samples, seed), kind=kind, level=level)


class Draws(NamedTuple):
    """The times that each cluster and each seed is drawn in each of N samples."""

    clusters: np.ndarray
    """N x C; rows add up to C."""
    seeds: np.ndarray
    """N x S; rows add up to S."""


def draw(clusters: int, seeds: int, samples: int, seed: int) -> Draws:
    """With replacement; the same for the same numbers."""
    rng = np.random.default_rng(seed)
    return Draws(*(rng.multinomial(n, np.full(n, 1 / n), size=samples) for n in (clusters, seeds)))


def bootstrap_bounds(
    sums: np.ndarray, sizes: np.ndarray, draws: Draws, *, kind: Literal["percentile", "bca"], level: float
) -> tuple[float, float]:
    """`bootstrap_interval` from C x S sums of credit and the C numbers of questions."""
    from scipy import special

    drawn = draws.clusters.astype(float) @ np.column_stack([sums, sizes])
    means = (drawn[:, :-1] * draws.seeds).sum(axis=1) / sums.shape[1] / drawn[:, -1] * 100
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if kind == "bca":
        value = sums.sum() / sizes.sum() / sums.shape[1] * 100
        below = ((means < value).mean() + (means <= value).mean()) / 2
        if 0 < below < 1:
            of_cluster = sums.mean(axis=1)
            left = (of_cluster.sum() - of_cluster) / np.maximum(
                sizes.sum() - sizes, 1
            )  # a single cluster leaves nothing
            pull = left.mean() - left
            spread = (pull**2).sum() ** 1.5
            acceleration = (pull**3).sum() / (6 * spread) if spread else 0.0
            shift = special.ndtri(below)
            reach = shift + special.ndtri(tails)
            tails = special.ndtr(shift + reach / (1 - acceleration * reach))
    low, high = np.quantile(means, tails)
    return float(low), float(high)


def sign_flip(
    credit_a: Credit, credit_b: Credit, clusters: pd.Series, *, samples: int = 10_000, seed: int = 0
) -> float:
    """p of two systems being exchangeable within every cluster, two-sided: a permutation test.

    If names do not matter, the summed difference of a cluster could as well have had the other sign. Signs of whole
    clusters are drawn, so questions of one wording stay together; where at most `EXACT_CLUSTERS` clusters differ, every
    assignment is tried. Seeds are averaged: the test is over questions, with the runs as they are. With clusters of one
    question and one run it is McNemar's exact test, up to the drawing.
    """
    difference = credit_matrix(credit_a).mean(axis=1) - credit_matrix(credit_b.loc[credit_a.index]).mean(axis=1)
    sums, _ = cluster_sums(difference[:, None], cluster_codes(credit_a.index, clusters))
    parts = sums[:, 0][np.abs(sums[:, 0]) > 1e-12]
    if not len(parts):
        return 1.0
    observed = abs(parts.sum()) - 1e-9  # sums of fractions round
    if len(parts) <= EXACT_CLUSTERS:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(parts))))
        return float((np.abs(signs @ parts) >= observed).mean())
    rng = np.random.default_rng(seed)
    reached = 0
    for begin in range(0, samples, 1000):
        signs = rng.integers(2, size=(min(1000, samples - begin), len(parts))) * 2 - 1
        reached += int((np.abs(signs @ parts) >= observed).sum())
    return (reached + 1) / (samples + 1)
