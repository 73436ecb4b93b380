"""Calibration against scikit-learn, and by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from mmadapter.evaluation.calibration import expected_calibration_error, reliability, risk_coverage


def frame_of(confidence, correct):
    return pd.DataFrame(
        {"confidence": pd.array(confidence, dtype="Float64"), "correct": pd.array(correct, dtype="boolean")}
    )


@pytest.fixture
def random_frame():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 997)
    return frame_of(confidence, rng.uniform(size=997) < confidence**2)


@pytest.mark.parametrize("bins", [10, 15])
def test_reliability_is_scikit_learns(bins, random_frame):
    calibration = pytest.importorskip("sklearn.calibration")
    correct, confidence = random_frame["correct"].to_numpy(dtype=bool), random_frame["confidence"].to_numpy(dtype=float)
    accuracy, mean = calibration.calibration_curve(correct, confidence, n_bins=bins)
    table = reliability(random_frame, bins)
    filled = table[table["n"] > 0]
    np.testing.assert_allclose(filled["accuracy"], accuracy)
    np.testing.assert_allclose(filled["confidence"], mean)
    assert table["n"].sum() == 997
    assert len(table) == bins


def test_expected_calibration_error_by_hand():
    frame = frame_of([0.95, 0.92, 0.55, 0.15, None], [True, False, True, False, True])
    # bins: {0.95, 0.92} accuracy 0.5, {0.55} 1, {0.15} 0
    expected = (2 * abs(0.935 - 0.5) + abs(0.55 - 1) + abs(0.15 - 0)) / 4
    assert expected_calibration_error(frame) == pytest.approx(expected)


def test_a_calibrated_system_has_no_error():
    assert expected_calibration_error(frame_of([0.75] * 4, [True, True, True, False])) == 0


def test_edges_are_in_one_bin_each():
    table = reliability(frame_of([0.0, 0.5, 1.0], [False, True, True]))
    assert table["n"].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert table.loc[1, ["confidence", "accuracy"]].isna().all()


def test_without_confidence_nothing_is_known():
    frame = frame_of([None, None], [True, False])
    assert math.isnan(expected_calibration_error(frame))
    assert len(risk_coverage(frame)) == 0


def test_risk_coverage_by_hand():
    frame = frame_of([0.5, 0.9, 0.7, 0.7], [False, True, False, True])
    curve = risk_coverage(frame)
    assert curve["confidence"].tolist() == [0.9, 0.7, 0.5]
    assert curve["coverage"].tolist() == [0.25, 0.75, 1.0]
    assert curve["risk"].tolist() == [0, 1 / 3, 0.5]


def test_risk_at_full_coverage_is_the_error_rate(random_frame):
    curve = risk_coverage(random_frame)
    assert curve["coverage"].iloc[-1] == 1
    assert curve["risk"].iloc[-1] == pytest.approx(1 - random_frame["correct"].mean())
