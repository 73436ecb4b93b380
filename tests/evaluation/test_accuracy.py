"""The paper's columns against a count in plain Python."""

import math

import numpy as np
import pandas as pd
import pytest

from mmadapter.evaluation.accuracy import (
    TABLE_COLUMNS,
    accuracy_by_class,
    accuracy_table,
    percent,
    published_rows,
    two_decimals,
)
from mmadapter.evaluation.frame import error_frame
from mmadapter.evaluation.predictions import predictions_frame
from tests.evaluation.questions import answers, questions, records

BELONGS = {
    "Avg": lambda r: True,
    "NAT": lambda r: r["subject"] == "natural science",
    "SOC": lambda r: r["subject"] == "social science",
    "LAN": lambda r: r["subject"] == "language science",
    "TXT": lambda r: bool(r["hint"]),
    "IMG": lambda r: bool(r["image"]),
    "NO": lambda r: not r["hint"] and not r["image"],
    "G1-6": lambda r: int(r["grade"][5:]) <= 6,
    "G7-12": lambda r: int(r["grade"][5:]) >= 7,
}


def counted(asked: dict[str, dict], given: dict[str, int]) -> dict[str, tuple[str, int]]:
    """What the official script prints, and the number of questions."""
    result = {}
    for name, belongs in BELONGS.items():
        right = [given[pid] == record["answer"] for pid, record in asked.items() if belongs(record)]
        result[name] = (f"{sum(right) / len(right) * 100:.2f}", len(right))
    return result


def frame_of(data, given):
    return error_frame(predictions_frame(list(given), prediction=list(given.values())), data)


def test_columns_equal_a_plain_count(data):
    given = answers(data["test"], 0.6)
    scores = accuracy_by_class(frame_of(data["test"], given))
    test = {pid: record for pid, record in records().items() if record["split"] == "test"}
    assert tuple(scores.index) == TABLE_COLUMNS
    assert {n: (f"{row.accuracy:.2f}", row.n) for n, row in scores.iterrows()} == counted(test, given)


def test_rounds_as_the_official_script_does():
    """k / n * 100 and 100 * k / n differ in the last bit: enough to print another second decimal."""
    ties = [(k, n) for n in range(1, 1000) for k in range(n) if f"{100 * k / n:.2f}" != f"{k / n * 100:.2f}"]
    assert ties
    for k, n in ties:
        assert f"{percent(k, n):.2f}" == f"{k / n * 100:.2f}"


def test_a_table_of_numbers_rounds_as_it_prints():
    asked = [(k, n) for n in (53, 800, 4000) for k in range(n)]
    assert any(f"{np.round(percent(k, n), 2):.2f}" != f"{percent(k, n):.2f}" for k, n in asked)
    assert all(f"{two_decimals(percent(k, n)):.2f}" == f"{percent(k, n):.2f}" for k, n in asked)


def test_a_class_without_questions_is_nan_and_not_zero(tmp_path):
    one = {"1": records()["100"] | {"subject": "natural science", "grade": "grade3", "split": "test"}}
    data = questions(tmp_path, one)["test"]
    scores = accuracy_by_class(frame_of(data, {"1": one["1"]["answer"]}))
    assert scores.loc["NAT", "accuracy"] == 100
    assert scores.loc[["SOC", "LAN", "G7-12"], "accuracy"].isna().all()
    assert scores.loc["SOC", "n"] == 0


@pytest.mark.parametrize(
    ("field", "columns"),
    [("subject", {"NAT", "SOC", "LAN"}), ("hint", {"TXT", "NO"}), ("grade", {"G1-6", "G7-12"})],
)
def test_one_unknown_field_blanks_its_columns_alone(field, columns, tmp_path):
    asked = {pid: r for pid, r in records().items() if r["split"] == "test"}
    unknown = next(pid for pid, r in asked.items() if r["image"])
    asked[unknown] = asked[unknown] | {field: None}
    data = questions(tmp_path, asked)["test"]
    given = answers(data, 0.5)
    scores = accuracy_by_class(frame_of(data, given))
    rest = counted({pid: r for pid, r in asked.items() if pid != unknown}, given)
    whole = counted({pid: records()[pid] for pid in asked}, given)
    for name, row in scores.iterrows():
        if name in columns:
            assert math.isnan(row.accuracy)
            assert row.unknown == 1
            assert (f"{row.known_accuracy:.2f}", row.n) == rest[name]
        else:
            assert (f"{row.accuracy:.2f}", row.n) == whole[name]


def test_no_prediction_is_wrong(data):
    given = predictions_frame([p.pid for p in data["test"]])
    assert accuracy_by_class(error_frame(given, data["test"])).loc["Avg", "accuracy"] == 0


def test_table_of_frames_and_of_a_frame_of_two(data):
    frames = {name: frame_of(data["test"], answers(data["test"], right)) for name, right in (("a", 0.9), ("b", 0.2))}
    given = {n: predictions_frame(list(f.index), prediction=f["prediction"]) for n, f in frames.items()}
    table = accuracy_table(frames)
    assert list(table.index) == ["a", "b"]
    assert list(table.columns) == [*TABLE_COLUMNS, "source"]
    assert table.loc["a", "Avg"] == round(accuracy_by_class(frames["a"]).loc["Avg", "accuracy"], 2)
    pd.testing.assert_frame_equal(accuracy_table(error_frame(given, data)), table)
    assert list(accuracy_table(frames["a"]).index) == ["model"]


def test_published_rows_stand_below_with_their_source(data):
    table = accuracy_table(frame_of(data["test"], answers(data["test"], 0.5)), published=True)
    assert len(table) == 1 + 17
    assert table.loc["LLaMA-Adapter", list(TABLE_COLUMNS)].tolist() == [
        85.19,
        84.37,
        88.30,
        84.36,
        83.72,
        80.32,
        86.90,
        85.83,
        84.05,
    ]
    assert table["source"].isna().tolist() == [True] + [False] * 17
    assert table["Avg"].dtype == np.float64


def test_published_digits_are_kept():
    rows = published_rows(("leaderboard", "readme", "result-file"))
    assert (rows["IMG"] == "88.30").any()
    assert rows["source"].notna().all()
    assert published_rows(("paper-ablation",), split="val")["Avg"].tolist()[:3] == ["55.95", "73.36", "83.85"]
