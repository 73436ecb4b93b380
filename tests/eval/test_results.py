"""Means and intervals over seeds and questions; the results file."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from eval.results import Estimate, Questions, Results, Run, estimate, updated
from mmadapter.errors import UserError


def test_one_seed_is_the_t_interval_over_questions():
    outcomes = np.array([[1, 0, 1, 1, 0, 1, 1]])
    low, high = stats.t.interval(0.95, 6, outcomes.mean(), stats.sem(outcomes[0]))
    assert estimate(outcomes) == pytest.approx(Estimate(500 / 7, 100 * low, 100 * high, 1, 7))


def test_seeds_that_disagree_on_everything_are_an_interval_over_seeds():
    """Questions are all alike: what is left is the t interval of the seeds' means."""
    outcomes = np.array([[1.0] * 400, [0.0] * 400, [1.0] * 400])
    low, high = stats.t.interval(0.95, 2, 2 / 3, stats.sem([1, 0, 1]))
    assert estimate(outcomes)[:3] == pytest.approx((200 / 3, 100 * low, 100 * high))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Seeds have their own skill, questions their own difficulty; 95 % of intervals hold the mean of both."""
    rng, held, times = np.random.default_rng(0), 0, 400
    for _ in range(times):
        skill, ease = rng.normal(0, 0.05, (4, 1)), rng.uniform(0.3, 0.9, (1, 150))
        found = estimate(rng.random((4, 150)) < np.clip(ease + skill, 0, 1))
        held += found.low <= 60 <= found.high
    assert 0.93 <= held / times <= 1


def test_of_nothing_nothing_is_known():
    assert np.isnan(estimate(np.zeros((3, 0))).mean)
    assert np.isnan(estimate(np.zeros((0, 0))).low)


def test_what_never_differs_might_on_other_questions():
    """The exact bound: with nine questions alike, a third of others may be different."""
    bound = 100 * stats.binomtest(0, 9).proportion_ci(method="exact").high
    assert estimate(np.zeros((3, 9)))[:3] == pytest.approx((0, -bound, bound))


def test_written_and_read_is_the_same(tmp_path):
    run = Run({"epochs": 2}, 1, 77, [{"epoch": 1, "train_loss": 0.5}], 3.5, {"test": "0110"})
    results = Results({"date": "today"}, {"test": Questions(4, {"Avg": "1111", "IMG": "0011"})}, {"a": run, "b": run})
    results.write(tmp_path / "r.json")
    again = Results.read(tmp_path / "r.json")
    assert again == results
    assert again.right(["a", "b"], "test", "IMG").tolist() == [[True, False]] * 2
    assert again.right(["a"], "test", "TXT").shape == (1, 0)
    with pytest.raises(UserError, match="no results yet"):
        Results.read(tmp_path / "other.json")


def test_what_a_model_was_asked_besides_stays_recorded_until_the_run_is_another():
    plain = Run({}, 0, 7, [], 1.0, {"test": "10"})
    asked, again = replace(plain, controls={"blank": "00"}), replace(plain, controls={"blank": "10"})
    other = replace(plain, correct={"test": "11"})
    wrote, more = replace(plain, generated={"val": "01"}), replace(plain, generated={"test": "10"})
    assert updated(None, plain) == plain
    assert updated(asked, plain) == asked
    assert updated(asked, again) == again
    assert updated(asked, other) == other
    assert updated(asked, wrote) == replace(asked, generated=wrote.generated)
    assert updated(wrote, more) == replace(plain, generated={"val": "01", "test": "10"})
