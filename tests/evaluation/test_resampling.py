"""Bootstrap and permutation tests over clusters against scipy and McNemar."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmadapter.evaluation.clusters import single_questions
from mmadapter.evaluation.estimates import (
    estimate_difference,
)
from mmadapter.evaluation.resampling import bootstrap_interval, sign_flip
from mmadapter.evaluation.statistics import accuracy_interval, mcnemar
from tests.evaluation.clustered import SIZES, answers, clustered, series


def test_bootstrap_of_single_questions_is_the_exact_one():
    right = series([1] * 61 + [0] * 40)
    found = bootstrap_interval(right, single_questions(right.index), samples=20_000)
    assert found == pytest.approx(accuracy_interval(61, 101), abs=1.0)


@pytest.mark.parametrize("kind", ["percentile", "bca"])
def test_bootstrap_of_clusters_is_scipys(kind):
    sizes = [1, 2, 3, 5, 8] * 8
    right, clusters = answers(4, sizes), clustered(sizes)
    sums = right.groupby(clusters).sum().to_numpy()

    def mean(sums, sizes, axis=-1):
        return sums.sum(axis=axis) / sizes.sum(axis=axis)

    theirs = stats.bootstrap(
        (sums, np.array(sizes)),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method=kind.replace("bca", "BCa"),
        rng=1,
    ).confidence_interval
    ours = bootstrap_interval(right, clusters, kind=kind, samples=20_000)
    assert ours == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=0.6)


def test_bootstrap_draws_seeds_too():
    """Three means, of which one is drawn three times in 1 of 27 samples: more often than 1 in 40."""
    levels = [0.2, 0.5, 0.8]
    credit = pd.DataFrame(np.tile(levels, (6, 1)), index=[str(i) for i in range(6)])
    assert bootstrap_interval(credit, clustered([2] * 3), samples=4000) == pytest.approx((20, 80))


def test_sign_flip_is_mcnemar_over_single_questions():
    a = series([1] * 9 + [0] * 2 + [1] * 30)
    b = series([0] * 9 + [1] * 2 + [1] * 30)
    assert sign_flip(a, b, single_questions(a.index)) == pytest.approx(mcnemar(9, 2))


def test_sign_flip_is_scipys_permutation_test():
    a, b, clusters = answers(1, SIZES), answers(2, SIZES), clustered(SIZES)
    sums = [x.groupby(clusters).sum().to_numpy() for x in (a, b)]
    theirs = stats.permutation_test(
        sums, lambda x, y, axis: (x - y).sum(axis=axis), permutation_type="samples", vectorized=True
    )
    assert sign_flip(a, b, clusters) == pytest.approx(theirs.pvalue)


def test_sign_flip_by_drawing_is_near_the_exact_one(monkeypatch):
    from mmadapter.evaluation import resampling

    a, b, clusters = answers(1, SIZES), answers(2, SIZES), clustered(SIZES)
    exact = sign_flip(a, b, clusters)
    monkeypatch.setattr(resampling, "EXACT_CLUSTERS", 0)
    assert sign_flip(a, b, clusters) == pytest.approx(exact, abs=0.02)
    assert sign_flip(a, a, clusters) == 1


def test_one_wording_of_many_questions_is_one_observation():
    """20 questions that differ, all of one wording: McNemar is sure, the cluster's sign could be either."""
    a, b = series([1] * 40), series([0] * 20 + [1] * 20)
    clusters = clustered([20] + [1] * 20)
    assert mcnemar(20, 0) < 1e-5
    assert sign_flip(a, b, clusters) == 1
    assert estimate_difference(a, b, clusters).p() > 0.3
