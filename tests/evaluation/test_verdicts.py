"""Comparisons and verdicts against statsmodels."""

import math

import numpy as np
import pandas as pd
import pytest

from mmadapter.evaluation.clusters import single_questions
from mmadapter.evaluation.estimates import (
    accuracy_intervals,
    estimate_accuracy,
    estimate_difference,
)
from mmadapter.evaluation.statistics import mcnemar
from mmadapter.evaluation.verdicts import compare_by_class, verdict, verdicts
from tests.evaluation.clustered import clustered, series


def difference(value, sizes=101, spread=20.0, seed=0):
    """Of so many points."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, spread / 100, sizes)
    a = series(noise - noise.mean() + value / 100)
    return estimate_difference(a, series(np.zeros(sizes)), clustered([1] * sizes))


def test_equivalence_is_statsmodels_tost():
    from statsmodels.stats.weightstats import DescrStatsW

    rng = np.random.default_rng(0)
    a, b = series(rng.normal(0.01, 0.3, 71)), series(rng.normal(0, 0.3, 71))
    found = estimate_difference(a, b, single_questions(a.index))
    theirs = DescrStatsW(a - b)
    assert found.p_equivalent(15.0) == pytest.approx(theirs.ttost_mean(-0.15, 0.15)[0])
    assert found.p_not_worse(15.0) == pytest.approx(theirs.ttest_mean(-0.15, alternative="larger")[1])


def test_words_of_a_verdict():
    assert verdict(difference(10)).word == "better"
    assert verdict(difference(-10)).word == "worse"
    assert verdict(difference(1)).word == "inconclusive"
    assert verdict(difference(1), margin=2.0).word == "inconclusive"
    assert verdict(difference(1), margin=6.0).words == "equivalent within 6 points"
    assert verdict(difference(4.5), margin=9.0).word == "better"  # though within the margin
    told = str(verdict(difference(10)))
    assert told.startswith("better: +10.00 points, 95 % from +6.20 to +13.80")
    assert "over wordings alone, one seed" in told
    assert "not corrected" in told


def test_a_family_is_corrected_by_holm():
    from statsmodels.stats.multitest import multipletests

    family = {str(i): difference(points, seed=i) for i, points in enumerate((3.0, 4.0, 3.0, 12.0))}
    found = verdicts(family)
    expected = multipletests([each.p() for each in family.values()], method="holm")[1]
    assert [each.p for each in found.values()] == pytest.approx(expected)
    assert {each.family for each in found.values()} == {4}
    assert verdict(family["1"]).word == "better"
    assert found["1"].word == "inconclusive"
    assert "corrected among 4 (Holm)" in str(found["1"])


def test_a_single_wording_decides_nothing():
    a, b = series([1] * 5), series([0] * 5)
    found = verdict(estimate_difference(a, b, clustered([5])), margin=1.0)
    assert found.word == "inconclusive"
    assert math.isnan(found.p)


def test_classes(asked):
    from mmadapter.evaluation.accuracy import question_classes

    index = list(asked.index)
    rng = np.random.default_rng(0)
    a, b = (pd.Series((rng.random(53) < p).astype(float), index=asked.index) for p in (0.9, 0.4))
    clusters = pd.Series(np.arange(53) // 2, index=asked.index, name="wording")
    classes = question_classes(asked) | {"none": pd.Series(False, index=asked.index, dtype="boolean")}
    unknown = classes["IMG"].copy()
    unknown[index[0]] = pd.NA
    intervals = accuracy_intervals(a, clusters, classes | {"unknown": unknown})
    assert intervals.loc[["none", "unknown"], ["low", "high"]].isna().all(axis=None)
    member = classes["IMG"].astype(bool)
    assert tuple(intervals.loc["IMG", ["low", "high"]]) == estimate_accuracy(a[member], clusters).interval()
    table = compare_by_class(a, b, clusters, classes | {"unknown": unknown})
    assert list(table.index) == list(question_classes(asked))
    assert table.loc["Avg", "p_mcnemar"] == mcnemar(int((a > b).sum()), int((a < b).sum()))
    assert math.isnan(table.loc["Avg", "p_holm"])
    assert (table.drop(index="Avg")["p_holm"] >= table.drop(index="Avg")["p"]).all()
    assert table.loc["Avg", "p"] < 0.001


def test_classes_have_the_verdicts_of_their_family():
    index = [str(i) for i in range(400)]
    rng = np.random.default_rng(1)
    a = pd.Series(rng.integers(2, size=400).astype(float), index=index)
    b = a.copy()
    b[index[:12]] = 1 - b[index[:12]]
    clusters = single_questions(a.index)
    masks = {"Avg": np.full(400, True), "IMG": np.arange(400) < 300, "NO": np.arange(400) >= 300}
    classes = {name: pd.Series(mask, index=index, dtype="boolean") for name, mask in masks.items()}
    table = compare_by_class(a, b, clusters, classes, margin=5.0)
    apart = {name: estimate_difference(a[mask], b[mask], clusters) for name, mask in masks.items()}
    family = verdicts({name: apart[name] for name in ("IMG", "NO")}, margin=5.0)
    assert table.loc["IMG", "verdict"] == family["IMG"].words
    assert table.loc["NO", "p_holm"] == family["NO"].p
    assert table.loc["Avg", "verdict"] == verdict(apart["Avg"], margin=5.0).words == "equivalent within 5 points"
