"""Means and intervals over seeds and questions; the results file."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from eval.results import Questions, Results, Run, accuracy, difference, gain, updated
from mmadapter.errors import UserError
from mmadapter.evaluation.estimates import estimate_accuracy, estimate_difference


def test_intervals_are_those_of_the_evaluation():
    """Seeds a column, questions a row, wordings as clusters; a baseline is set against every seed."""
    rng = np.random.default_rng(0)
    right, clusters = rng.integers(2, size=(3, 40)), np.arange(40) // 4
    frame, wordings = pd.DataFrame(right.T.astype(float)), pd.Series(clusters, name="wording")
    expected = estimate_accuracy(frame, wordings)
    assert accuracy(right, clusters) == (expected.value, *expected.interval(), 3, 40)
    baseline = rng.random((1, 40))
    apart = estimate_difference(frame, pd.DataFrame(baseline.T), wordings)
    assert difference(right, baseline, clusters) == apart
    assert gain(right, baseline, clusters) == (apart.value, *apart.interval(), 3, 40)
    assert np.isnan(accuracy(np.zeros((3, 0)), clusters[:0]).mean)


def test_written_and_read_is_the_same(tmp_path):
    run = Run({"epochs": 2}, 1, 77, [{"epoch": 1, "train_loss": 0.5}], 3.5, {"test": "0110"})
    results = Results(
        {"date": "today"},
        {"test": Questions(4, {"Avg": "1111", "IMG": "0011"}, [0, 0, 1, 1], {"chance": [0.5] * 4})},
        {"a": run, "b": run},
    )
    results.write(tmp_path / "r.json")
    again = Results.read(tmp_path / "r.json")
    assert again == results
    assert again.right(["a", "b"], "test", "IMG").tolist() == [[True, False]] * 2
    assert again.right(["a"], "test", "TXT").shape == (1, 0)
    assert again.clusters("test", "IMG").tolist() == [1, 1]
    assert again.credit("chance", "test", "IMG").tolist() == [[0.5, 0.5]]
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


def test_questions_are_known_by_the_classes_that_both_records_have():
    asked = Questions(4, {"Avg": "1111", "IMG": "0011"})
    assert asked.same(Questions(4, {"Avg": "1111", "NO": "1100"}, [0, 0, 1, 1]))
    assert not asked.same(Questions(4, {"Avg": "1111", "IMG": "0111"}))
    assert not asked.same(Questions(5, {}))
