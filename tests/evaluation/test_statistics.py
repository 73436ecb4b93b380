"""Intervals and tests against scipy and statsmodels, and against their own promise: coverage."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class
from mmadapter.evaluation.frame import error_frame
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.evaluation.statistics import accuracy_interval, accuracy_intervals, compare, holm
from tests.evaluation.questions import answers

statsmodels = pytest.importorskip("statsmodels.stats")


@pytest.fixture(scope="module")
def pair(data):
    def frame(right, seed):
        given = answers(data["test"], right, seed)
        return error_frame(predictions_frame(list(given), prediction=list(given.values())), data["test"])

    return frame(0.9, 1), frame(0.3, 2)


@pytest.mark.parametrize(("correct", "n"), [(31, 53), (7, 11), (3188, 4241), (150, 157)])
def test_interval_is_scipys_bootstrap(correct, n):
    right = np.repeat([1.0, 0.0], [correct, n - correct])
    sampled = stats.bootstrap((right,), np.mean, n_resamples=6000, method="percentile", batch=500, rng=0)
    low, high = sampled.confidence_interval
    # Quantiles of 6,000 samples are a twentieth of a standard error from the exact ones, or one question.
    tolerance = max(100 / n, 5 * 100 * right.std() / n**0.5 / 20)
    assert accuracy_interval(correct, n) == pytest.approx((low * 100, high * 100), abs=tolerance)


@pytest.mark.parametrize(("n", "p"), [(361, 0.75), (2017, 0.8), (74, 0.5)])
def test_interval_has_its_nominal_coverage(n, p):
    chance = {k: stats.binom.pmf(k, n, p) for k in range(n + 1)}
    intervals = {k: accuracy_interval(k, n) for k in chance if chance[k] > 1e-9}
    covered = sum(chance[k] for k, (low, high) in intervals.items() if low <= 100 * p <= high)
    assert covered == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("correct", "n"), [(0, 13), (13, 13), (1, 1)])
def test_interval_without_spread_is_clopper_pearson(correct, n):
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=0.05, method="beta")
    assert accuracy_interval(correct, n) == pytest.approx((low * 100, high * 100))


def test_no_question_has_no_interval():
    assert np.isnan(accuracy_interval(0, 0)).all()


def test_every_cell_has_its_interval(pair):
    frame = pair[0]
    scores, intervals = accuracy_by_class(frame), accuracy_intervals(frame)
    assert tuple(intervals.index) == TABLE_COLUMNS
    assert (intervals["low"] < scores["accuracy"]).all()
    assert (scores["accuracy"] < intervals["high"]).all()
    half = frame.assign(grade=frame["grade"].where(frame["has_image"]))
    assert accuracy_intervals(half).isna().all(axis=1).tolist() == [c.startswith("G") for c in TABLE_COLUMNS]


def test_compare_counts_and_mcnemar(pair):
    from statsmodels.stats.contingency_tables import mcnemar

    a, b = pair
    table = compare(a, b.sample(frac=1, random_state=0))
    assert tuple(table.index) == TABLE_COLUMNS
    image = a["has_image"].astype(bool)
    right = {name: frame["correct"][image].map({True: "right", False: "wrong"}) for name, frame in (("a", a), ("b", b))}
    crossed = (
        pd.crosstab(right["a"], right["b"]).reindex(index=["right", "wrong"], columns=["right", "wrong"]).to_numpy()
    )
    row = table.loc["IMG"]
    assert row[["both_right", "only_a", "only_b", "both_wrong"]].tolist() == crossed.ravel().tolist()
    assert row["p"] == pytest.approx(mcnemar(crossed, exact=True).pvalue)
    assert row["n"] == image.sum()
    difference = accuracy_by_class(a)["accuracy"] - accuracy_by_class(b)["accuracy"]
    np.testing.assert_allclose(table["difference"], difference.loc[table.index])


def test_interval_of_the_difference_is_scipys_paired_bootstrap(pair):
    a, b = (frame["correct"].to_numpy(dtype=float) for frame in pair)

    def difference(x, y, axis):
        return np.mean(x - y, axis=axis)

    sampled = stats.bootstrap((a, b), difference, paired=True, n_resamples=5000, method="percentile", rng=0)
    low, high = sampled.confidence_interval
    row = compare(*pair).loc["Avg"]
    assert (row["low"], row["high"]) == pytest.approx((low * 100, high * 100), abs=100 / 53)  # one question


def test_interval_of_the_difference_has_its_nominal_coverage():
    rng = np.random.default_rng(0)
    n, shares = 300, (0.5, 0.22, 0.12, 0.16)
    index = pd.Index([str(i) for i in range(n)])
    covered = []
    for seed in range(200):
        outcome = rng.choice(4, size=n, p=shares)
        a, b = (pd.DataFrame({"correct": np.isin(outcome, right), "g": "x"}, index=index) for right in ((0, 1), (0, 2)))
        row = compare(a, b, by="g", samples=1000, seed=seed).loc["x"]
        covered.append(row["low"] <= 10 <= row["high"])
    assert np.mean(covered) == pytest.approx(0.95, abs=0.05)  # three standard errors of 200


def test_the_same_system_twice(pair):
    table = compare(pair[0], pair[0])
    assert (table["difference"] == 0).all()
    bounds = [accuracy_interval(0, n).high for n in table["n"]]  # not "certainly equal", as a bootstrap would have it
    assert table["high"].tolist() == bounds
    assert table["low"].tolist() == [-bound for bound in bounds]
    assert (table["p"] == 1).all()


def test_compare_by_a_column_corrects_for_all_its_values(pair):
    from statsmodels.stats.multitest import multipletests

    table = compare(*pair, by="category")
    assert list(table.index) == ["Magnets", "Maps"]
    assert table["n"].sum() == len(pair[0])
    np.testing.assert_allclose(table["p_holm"], multipletests(table["p"], method="holm")[1])


def test_a_column_without_any_value_compares_nothing(pair):
    table = compare(*(frame.assign(topic=None) for frame in pair), by="topic")
    assert table.empty
    assert list(table.columns) == list(compare(*pair).columns)


def test_a_column_with_a_dash_is_not_compared(pair):
    half = [frame.assign(grade=frame["grade"].where(frame["has_image"])) for frame in pair]
    assert list(compare(*half).index) == [column for column in TABLE_COLUMNS if not column.startswith("G")]
    assert compare(*half, by="grade")["n"].sum() == pair[0]["has_image"].sum()


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    for seed in range(6):
        p = np.random.default_rng(seed).permutation([0.01, 0.04, 0.03, 0.03, 0.005, 0.9, 1.0])
        np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


def test_avg_is_not_corrected(pair):
    table = compare(*pair)
    assert np.isnan(table.loc["Avg", "p_holm"])
    np.testing.assert_allclose(table["p_holm"].iloc[1:], holm(table["p"].iloc[1:].to_numpy()))


def test_different_questions_are_not_compared(pair):
    with pytest.raises(UserError, match="53 and 50, 50 common"):
        compare(pair[0], pair[1].iloc[3:])
