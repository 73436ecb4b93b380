"""Intervals over clusters and seeds against statsmodels, scipy and small cases by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmadapter.errors import UserError
from mmadapter.evaluation.clusters import single_questions
from mmadapter.evaluation.estimates import (
    _correlation,
    _kurtosis,
    estimate_accuracy,
    estimate_difference,
)
from mmadapter.evaluation.statistics import accuracy_interval
from tests.evaluation.clustered import SIZES, answers, clustered, series


def test_single_questions_give_the_plain_standard_error():
    right = answers(0, SIZES)
    found = estimate_accuracy(right, single_questions(right.index))
    assert found.value == pytest.approx(100 * right.mean())
    assert found.error == pytest.approx(100 * right.std(ddof=1) / len(right) ** 0.5)
    assert found.freedom == len(right) - 1
    assert found.over == "questions alone, one seed"


def test_difference_of_single_questions_is_the_paired_t_test():
    a, b = answers(1, SIZES), answers(2, SIZES)
    found = estimate_difference(a, b, single_questions(a.index))
    test = stats.ttest_rel(a, b)
    assert found.p() == pytest.approx(test.pvalue)
    assert found.interval() == pytest.approx(tuple(100 * bound for bound in test.confidence_interval()))


def test_clusters_of_one_size_are_a_t_test_of_their_means():
    a, b, clusters = answers(1, [5] * 17), answers(2, [5] * 17), clustered([5] * 17)
    found = estimate_difference(a, b, clusters)
    test = stats.ttest_1samp((a - b).groupby(clusters).mean(), 0)
    assert found.freedom == pytest.approx(16)
    assert found.p() == pytest.approx(test.pvalue)
    assert found.interval() == pytest.approx(tuple(100 * bound for bound in test.confidence_interval()))


def test_many_clusters_of_unequal_size_have_statsmodels_robust_error():
    statsmodels = pytest.importorskip("statsmodels.api")
    sizes = list(np.random.default_rng(3).integers(1, 9, 401))
    right, clusters = answers(3, sizes), clustered(sizes)
    fit = statsmodels.OLS(right.to_numpy(), np.ones(len(right))).fit(
        cov_type="cluster", cov_kwds={"groups": clusters.to_numpy()}
    )
    found = estimate_accuracy(right, clusters)
    # theirs is scaled by one factor for all clusters, ours by one each: they part by the share of a cluster
    assert found.error == pytest.approx(100 * fit.bse[0], rel=0.005)
    assert found.effective == pytest.approx(sum(sizes) ** 2 / sum(size**2 for size in sizes))


def test_variance_by_hand():
    """Two clusters, of 1 and 2 questions."""
    found = estimate_accuracy(series([1, 0, 0]), clustered([1, 2]))
    # Mean 1/3: the sums are off by 2/3 and -2/3. All variance is between clusters, the correlation is 1: a sum varies
    # by 1 and by 4, off the mean by 1 - 2/3 + 5/9 = 8/9 and by 4 - 16/3 + 20/9 = 8/9.
    expected = (4 / 9 * 1 / (8 / 9) + 4 / 9 * 4 / (8 / 9)) / 9
    assert found.error == pytest.approx(100 * expected**0.5)
    assert found.freedom == 1


@pytest.mark.parametrize("seed", range(5))
def test_copies_of_every_question_teach_nothing(seed):
    """Twice the questions, in the same clusters: the same interval."""
    sizes = SIZES * 4
    right, clusters = answers(seed, sizes), clustered(sizes)
    twice = series(np.repeat(right.to_numpy(), 2))
    both = pd.Series(np.repeat(clusters.to_numpy(), 2), index=twice.index, name="wording")
    once, again = estimate_accuracy(right, clusters), estimate_accuracy(twice, both)
    assert again.value == pytest.approx(once.value)
    assert again.effective == pytest.approx(once.effective)
    assert again.error == pytest.approx(once.error, rel=0.05)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=13), st.integers(0, 99), st.integers(1, 4))
def test_an_interval_holds_its_estimate_and_stays_in_range(sizes, seed, seeds):
    a, b, clusters = answers(seed, sizes, seeds=seeds), answers(seed + 1, sizes, seeds=seeds), clustered(sizes)
    accuracy, difference = estimate_accuracy(a, clusters), estimate_difference(a, b, clusters)
    for found, least in ((accuracy, 0), (difference, -100)):
        low, high = found.interval()
        if len(sizes) == 1:
            assert math.isnan(low)
            assert math.isnan(high)
            continue
        assert least <= low <= found.value + 1e-9
        assert found.value - 1e-9 <= high <= 100
        assert found.interval(0.5)[0] >= low - 1e-9
    if len(sizes) > 1:
        low, high = difference.interval()
        if min(abs(low), abs(high)) > 1e-6 and -100 < low < high < 100:
            assert (difference.p() < 0.05) == (not low <= 0 <= high)
    swapped = estimate_difference(b, a, clusters)
    assert swapped.value == pytest.approx(-difference.value)
    assert swapped.error == pytest.approx(difference.error, nan_ok=True)


def test_all_right_is_wilson_over_the_effective_clusters():
    from statsmodels.stats.proportion import proportion_confint

    found = estimate_accuracy(series([1] * 20), clustered([2] * 10))
    z = found.quantile()
    low, _ = proportion_confint(10, 10, 2 * stats.norm.sf(z), method="wilson")
    assert found.interval() == pytest.approx((100 * low, 100))


def test_wilson_over_questions():
    from statsmodels.stats.proportion import proportion_confint

    right = series([1] * 300 + [0] * 101)
    low, high = proportion_confint(300, 401, method="wilson")
    found = estimate_accuracy(right, single_questions(right.index)).interval()
    assert found == pytest.approx((100 * low, 100 * high), abs=0.05)  # t of 400 in place of z


def test_chance_is_no_sample():
    found = estimate_accuracy(series([0.5] * 8), clustered([2] * 4))
    assert found.interval() == (50, 50)


def test_two_that_never_differ_have_the_bound_of_clopper_and_pearson():
    right, clusters = answers(0, [2] * 30), clustered([2] * 30)
    found = estimate_difference(right, right, clusters)
    high = accuracy_interval(0, 30).high
    assert found.interval() == pytest.approx((-high, high))
    assert found.p() == 1
    assert found.p_equivalent(high + 0.1) < 0.025 < found.p_equivalent(high - 0.1)


def two_way(seed, of_seed, sizes, seeds):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, len(sizes))[np.repeat(np.arange(len(sizes)), sizes)][:, None]
    return pd.DataFrame(
        0.5 + values + rng.normal(0, of_seed, seeds) + rng.normal(0, 0.1, (sum(sizes), seeds)),
        index=[str(i) for i in range(sum(sizes))],
    )


def test_seeds_and_clusters_add_up():
    """Where only seeds vary it is their t test; where they do not, they change nothing."""
    index = [str(i) for i in range(40)]
    levels = [0.2, 0.5, 0.55]
    seeds = pd.DataFrame(np.tile(levels, (40, 1)), index=index)
    found = estimate_accuracy(seeds, clustered([2] * 20))
    assert found.error == pytest.approx(100 * stats.sem(levels))
    assert found.freedom == pytest.approx(2)
    assert found.over == "wordings and 3 seeds"
    one = answers(5, [2] * 20)
    alike = pd.DataFrame({0: one, 1: one, 2: one})
    assert estimate_accuracy(alike, clustered([2] * 20)).error == pytest.approx(
        estimate_accuracy(one, clustered([2] * 20)).error
    )


def test_variance_of_seeds_is_right_on_average():
    sizes, seeds = [1, 2, 3, 5] * 9, 4
    found = [estimate_accuracy(two_way(i, 0.05, sizes, seeds), clustered(sizes)) for i in range(300)]
    actual = np.var([each.value for each in found])
    assert np.mean([each.error**2 for each in found]) == pytest.approx(actual, rel=0.2)


def test_a_baseline_is_set_against_every_seed():
    a, b, clusters = answers(1, SIZES, seeds=3), answers(2, SIZES), clustered(SIZES)
    found = estimate_difference(a, b, clusters)
    assert found.seeds == 3
    assert found.value == pytest.approx(100 * (a.mean(axis=1) - b).mean())
    assert estimate_difference(a, a[[2, 0, 1]], clusters).error == 0  # paired by name


def test_what_does_not_fit_is_refused():
    a, b, clusters = answers(1, SIZES, seeds=3), answers(2, SIZES, seeds=2), clustered(SIZES)
    with pytest.raises(UserError, match="seed by seed: one has 0, 1, 2, the other 0, 1"):
        estimate_difference(a, b, clusters)
    with pytest.raises(UserError, match="same questions: 39 and 38"):
        estimate_difference(a, a[1:], clusters)
    with pytest.raises(UserError, match="1 of 39 questions have no cluster"):
        estimate_accuracy(a, clusters[1:])
    with pytest.raises(UserError, match="above 0"):
        estimate_difference(a, a, clusters).p_equivalent(0.0)


@settings(max_examples=20)
@given(st.permutations(range(39)))
def test_the_order_of_questions_does_not_matter(order):
    a, b, clusters = answers(1, SIZES), answers(2, SIZES), clustered(SIZES)
    turned = estimate_difference(a.iloc[order], b, clusters)
    straight = estimate_difference(a, b, clusters)
    assert turned.value == pytest.approx(straight.value)
    assert turned.error == pytest.approx(straight.error)


@pytest.mark.parametrize(("mean", "variance"), [(0.7, 0.05), (0.5, 0.02), (0.6, 0.07)])
def test_light_tails_are_those_of_a_beta_distribution(mean, variance):
    room = mean * (1 - mean) / variance - 1
    excess = stats.beta(mean * room, (1 - mean) * room).stats("k")
    assert -1 < excess < 0
    assert _kurtosis(mean, variance, 0.0) == pytest.approx(3 + excess)
    assert _kurtosis(2 * mean - 1, 4 * variance, -1.0) == pytest.approx(3 + excess)


def test_correlation_within_clusters_follows_from_the_f_test():
    right, sizes = answers(6, [4] * 23), [4] * 23
    groups = right.to_numpy().reshape(23, 4)
    f = stats.f_oneway(*groups).statistic
    off = right.to_numpy() - right.mean()
    found = _correlation(off, groups.mean(axis=1) - right.mean(), np.repeat(np.arange(23), 4), np.array(sizes))
    assert found == pytest.approx((f - 1) / (f - 1 + 4))
