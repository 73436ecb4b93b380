"""The per-question frame: its dtypes, and predictions that do not fit."""

import pandas as pd
import pytest

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import error_frame, split_systems
from mmadapter.evaluation.predictions import predictions_frame
from tests.evaluation.questions import N_TEST, N_VAL, answers

DTYPES = {
    "split": "string",
    "subject": "string",
    "topic": "string",
    "category": "string",
    "skill": "string",
    "grade": "Int64",
    "has_text": "boolean",
    "has_image": "bool",
    "question": "string",
    "choices": "object",
    "n_choices": "Int64",
    "answer": "Int64",
    "image": "string",
    "prediction": "Int64",
    "correct": "boolean",
    "probabilities": "object",
    "confidence": "Float64",
    "margin": "Float64",
    "unparsed": "string",
    "prompt_tokens": "Int64",
    "truncated": "boolean",
}


def predicted(data, **columns):
    given = answers(data, 0.5)
    return predictions_frame(list(given), prediction=list(given.values()), **columns)


def test_columns_and_dtypes_are_fixed(data):
    frame = error_frame(predicted(data["test"]), data["test"])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
    assert frame.index.name == "pid"
    assert list(frame.index) == [p.pid for p in data["test"]]
    assert frame["correct"].notna().all()


def test_dtypes_do_not_depend_on_the_content(data, tmp_path):
    """All unknown, all known, and read back from a file: the same columns."""
    n = N_TEST
    known = predicted(
        data["test"],
        probabilities=[[1 / len(p.choices)] * len(p.choices) for p in data["test"]],
        prompt_tokens=[9] * n,
        truncated=[False] * n,
        unparsed=["because"] * n,
    )
    nothing = predictions_frame([p.pid for p in data["test"]])
    for given in (known, nothing):
        frame = error_frame(given, data["test"])
        assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == DTYPES
        given.to_parquet(tmp_path / "p.parquet")
        again = error_frame(pd.read_parquet(tmp_path / "p.parquet"), data["test"])
        pd.testing.assert_frame_equal(again, frame)


def test_rows_follow_the_question_whatever_their_order(data):
    given = predicted(data["test"])
    shuffled = error_frame(given.sample(frac=1, random_state=0), data["test"])
    pd.testing.assert_frame_equal(shuffled, error_frame(given, data["test"]))
    by_pid = answers(data["test"], 0.5)
    for problem in data["test"]:
        assert shuffled.loc[problem.pid, "prediction"] == by_pid[problem.pid]
        assert shuffled.loc[problem.pid, "correct"] == (by_pid[problem.pid] == problem.answer)


def test_confidence_and_margin(data):
    problems = list(data["test"])
    shares = {2: [0.7, 0.3], 3: [0.2, 0.5, 0.3], 4: [0.1, 0.2, 0.3, 0.4], 5: [0.2, 0.1, 0.3, 0.15, 0.25]}
    given = predicted(data["test"], probabilities=[shares[len(p.choices)] for p in problems])
    given.loc[0, "prediction"] = pd.NA
    frame = error_frame(given, data["test"])
    assert frame.iloc[0][["confidence", "margin"]].isna().all()
    for _, row in frame.iloc[1:].iterrows():
        of = shares[row["n_choices"]]
        others = [p for i, p in enumerate(of) if i != row["prediction"]]
        assert row["confidence"] == of[row["prediction"]]
        assert row["margin"] == pytest.approx(of[row["prediction"]] - max(others))
        assert row["probabilities"] == of


def test_two_systems_beside_each_other(data):
    a, b = predicted(data["test"]), predictions_frame([p.pid for p in data["test"]], prediction=[0] * N_TEST)
    frame = error_frame({"multimodal": a, "text": b}, data["test"])
    right_a, right_b = frame["correct_multimodal"], frame["correct_text"]
    assert (frame["outcome"] == "both right").tolist() == (right_a & right_b).tolist()
    assert (frame["outcome"] == "only multimodal").tolist() == (right_a & ~right_b).tolist()
    assert (frame["outcome"] == "only text").tolist() == (~right_a & right_b).tolist()
    assert (frame["outcome"] == "both wrong").tolist() == (~right_a & ~right_b).tolist()
    assert frame["outcome"].nunique() == 4
    parts = split_systems(frame)
    pd.testing.assert_frame_equal(parts["multimodal"], error_frame(a, data["test"]))
    pd.testing.assert_frame_equal(parts["text"], error_frame(b, data["test"]))


def test_three_systems_have_no_outcome(data):
    frame = error_frame(dict.fromkeys("abc", predicted(data["test"])), data["test"])
    assert "outcome" not in frame
    assert list(split_systems(frame)) == ["a", "b", "c"]


def test_finds_the_split_that_was_predicted(data):
    assert len(error_frame(predicted(data["test"]), data)) == N_TEST
    assert len(error_frame(predicted(data["val"]), data)) == N_VAL


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.iloc[3:], "3 questions have no prediction: 100, 101, 102"),
        (lambda f: pd.concat([f, f.iloc[:2]]), "2 questions have more than one prediction: 100, 101"),
        (
            lambda f: f.assign(pid=f["pid"].replace("100", "9")),
            "no prediction: 100; 1 questions are not asked: 9",
        ),
        (lambda f: f.assign(prediction=7), r"53 predictions are no option of their question: 100 \(7 of "),
        (lambda f: f.assign(prediction=-1), "53 predictions are no option"),
        (lambda f: f.assign(prediction=0.5), "a prediction is the index of an option"),
        (lambda f: f.assign(prediction="A"), "a prediction is the index of an option"),
        (lambda f: f.drop(columns="prediction"), "there is no column 'prediction'; there are: output"),
        (lambda f: f.assign(probabilities=[[0.5] * 6] * len(f)), "each option needs one probability"),
        (lambda f: f.assign(probabilities=[[float("nan")] * 2] * len(f)), "each option needs one probability"),
    ],
)
def test_predictions_that_do_not_fit(change, told, data):
    with pytest.raises(UserError, match=told):
        error_frame(change(predicted(data["test"])), data["test"])


def test_no_systems(data):
    with pytest.raises(UserError, match="no predictions"):
        error_frame({}, data["test"])
    with pytest.raises(UserError, match="not an error frame"):
        split_systems(pd.DataFrame({"a": [1]}))
