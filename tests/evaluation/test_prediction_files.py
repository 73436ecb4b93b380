"""Everybody's files: what is read from each, and what is refused."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from mmadapter.errors import UserError
from mmadapter.evaluation import prediction_files, predictions
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.storage import tables
from tests.evaluation.questions import N_TEST, answers

LETTERS = "ABCDE"


@pytest.fixture
def given(data) -> dict[str, int]:
    return answers(data["test"], 0.5)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_result_file_stands_as_it_is(tmp_path, asked, given):
    read = read_predictions(write(tmp_path / "gpt3.json", {"acc": 1, "results": given}), asked)
    assert (read.name, read.rule, read.source) == ("gpt3", "as filed", str(tmp_path / "gpt3.json"))
    assert dict(zip(read.frame["pid"], read.frame["prediction"], strict=True)) == given
    assert read.frame["unparsed"].isna().all()
    assert {
        name: str(read.frame[name].dtype) for name in predictions.PREDICTION_DTYPES
    } == predictions.PREDICTION_DTYPES


def test_result_file_with_texts_counts_what_nobody_can_read(tmp_path, asked, given):
    forms = ["The answer is {}.", "The answer is ({}).", "{}", "{}. rock", "it is {}", ""]
    texts = {pid: forms[i % 6].format(LETTERS[index]) for i, (pid, index) in enumerate(given.items())}
    path = write(tmp_path / "file.json", {"results": given, "outputs": texts})
    filed = read_predictions(path, asked)
    assert filed.rule == "as filed"
    assert filed.frame["prediction"].tolist() == list(given.values())
    assert filed.frame["unparsed"].notna().sum() == sum(forms.index(f) >= 4 for f in forms * 9) - 1  # 53 of 54
    again = read_predictions(path, asked, rule="lmms-eval")
    assert again.rule == "lmms-eval"
    assert again.frame["unparsed"].isna().tolist() == [i % 6 in (2, 3) for i in range(N_TEST)]


def test_minus_one_in_a_result_file_is_unparsed(tmp_path, asked, given):
    first, second, *_ = given
    path = write(
        tmp_path / "llava.json", {"results": given | {first: -1, second: -1}, "outputs": dict.fromkeys(given, "")}
    )
    frame = read_predictions(path, asked).frame
    assert frame["prediction"].isna().sum() == frame["unparsed"].notna().sum() == 2


def test_a_rule_cannot_read_a_file_without_texts(tmp_path, asked, given):
    assert read_predictions(write(tmp_path / "a.json", {"results": given}), asked, rule="strict").rule == "as filed"


def test_answers_file_is_read_by_the_rule(tmp_path, asked, given):
    lines = [{"question_id": pid, "text": LETTERS[index], "model": "x"} for pid, index in given.items()]
    lines[0]["question_id"] = int(lines[0]["question_id"])
    lines[1]["text"] = "no idea"
    text = "\n".join(json.dumps(line) for line in reversed(lines)) + "\n\n"
    read = read_predictions(write(tmp_path / "answers.jsonl", text), asked)
    assert read.rule == "strict"
    assert list(read.frame["pid"]) == list(asked.index)
    assert read.frame["unparsed"].notna().sum() == 1
    expected = [None if i == 1 else index for i, index in enumerate(given.values())]
    assert [None if pd.isna(p) else p for p in read.frame["prediction"]] == expected
    official = read_predictions(tmp_path / "answers.jsonl", asked, rule="official").frame
    assert official["unparsed"].notna().all()
    assert official["prediction"].notna().all()


@pytest.mark.parametrize("form", ["index", "letter", "float"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_of_indices_or_letters(form, kind, tmp_path, asked, given):
    told = {"index": list, "letter": lambda v: [LETTERS[i] for i in v], "float": lambda v: np.array(v, dtype=float)}
    table = pd.DataFrame({"pid": list(given), "prediction": told[form](list(given.values())), "other": "<b>"})
    path = tmp_path / f"p.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    read = read_predictions(path, asked)
    assert read.rule == "as filed"
    assert read.frame["prediction"].tolist() == list(given.values())


def test_an_empty_cell_is_unparsed(tmp_path, asked, given):
    table = pd.DataFrame({"pid": list(given), "prediction": pd.array([None, *list(given.values())[1:]], dtype="Int64")})
    table.to_csv(tmp_path / "p.csv", index=False)
    assert read_predictions(tmp_path / "p.csv", asked).frame["prediction"].isna().sum() == 1


def test_our_own_file_keeps_everything(tmp_path, asked, data, given):
    own = predictions_frame(
        list(given),
        prediction=list(given.values()),
        probabilities=[[1 / len(p.choices)] * len(p.choices) for p in data["test"]],
        prompt_tokens=range(N_TEST),
        truncated=[True] * N_TEST,
    )
    own.to_parquet(tmp_path / "p.parquet")
    read = read_predictions(tmp_path / "p.parquet", asked)
    assert read.rule == "likelihood"
    assert [list(p) for p in read.frame["probabilities"]] == own["probabilities"].tolist()
    pd.testing.assert_frame_equal(read.frame.drop(columns="probabilities"), own.drop(columns="probabilities"))


def results(change):
    """A result file with its results changed."""
    return lambda given: {"results": change(given)}


first_is = lambda value: results(lambda given: {**given, next(iter(given)): value})  # noqa: E731


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.json", results(lambda g: dict(list(g.items())[2:])), "2 questions have no prediction: 100, 101"),
        ("p.json", results(lambda g: g | {"7": 0, "8": 0}), "2 questions are not asked: 7, 8"),
        ("p.json", first_is(5), r"1 predictions are no option of their question: 100 \(5 of \d options\)"),
        ("p.json", first_is(-2), "1 results are no index of an option: 100: -2"),
        ("p.json", first_is(1.5), "100: 1.5"),
        ("p.json", first_is(1.0), "100: 1.0"),
        ("p.json", first_is("1"), "100: '1'"),
        ("p.json", first_is(True), "100: True"),
        ("p.json", first_is(None), "100: None"),
        ("p.json", first_is("x" * 10**6), r"100: 'x{30,40}\.\.\."),
        ("p.json", lambda g: {"results": g, "outputs": {"100": "A"}}, "52 results have no text in 'outputs': 101"),
        ("p.json", lambda g: {"results": g, "outputs": ["A"] * N_TEST}, "53 results have no text"),
        ("p.json", lambda g: {"results": []}, "there is no object 'results'"),
        ("p.json", lambda g: [1], "there is no object 'results'"),
        ("p.json", lambda g: json.dumps({"results": g})[:-20], "not valid JSON.*\n.*complete"),
        ("p.json", lambda g: '{"results": {"100": 0, "100": 1}}', "1 keys occur more than once: '100'"),
        ("p.json", lambda g: "[" * 100_000, "not valid JSON"),
        ("p.jsonl", lambda g: '{"question_id": "100", "text": "A"}\n{"quest', "line 2, column 2: not valid JSON"),
        ("p.jsonl", lambda g: '{"question_id": "100", "text": 1}', "line 1: an answer is an object with"),
        ("p.jsonl", lambda g: '{"question_id": null, "text": "A"}', "line 1: question_id None is no pid"),
        (
            "p.jsonl",
            lambda g: '{"question_id": 100, "text": "A"}\n' * 2,
            "1 questions have more than one prediction: 100",
        ),
        ("p.csv", lambda g: "pid,answer\n1,2\n", "no column prediction; there are: pid, answer"),
        ("p.csv", lambda g: "pid,prediction\n100,1.5\n", "the prediction '1.5' is neither an index nor a letter"),
        ("p.csv", lambda g: "pid,prediction\n100,-1\n", "the prediction '-1' is neither"),
        ("p.csv", lambda g: "pid,prediction\n100,F\n", "the prediction 'F' is neither"),
        ("p.csv", lambda g: "pid,prediction\n,1\n", "1 rows have no pid"),
        ("p.csv", lambda g: "", "not a readable CSV file"),
        ("p.csv", lambda g: 'pid,prediction\n"100,1\n', "not a readable CSV file"),
        ("p.parquet", lambda g: "PAR1 but no more", "not a readable parquet file"),
        ("p.txt", lambda g: "", "its name must end in .json, .jsonl, .csv, .eval, .tsv, .xlsx, .parquet"),
    ],
)
def test_refused(name, content, told, tmp_path, asked, given):
    path = write(tmp_path / name, content(given))
    with pytest.raises(UserError, match=re.compile(told, re.DOTALL)) as error:
        read_predictions(path, asked)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1000


def test_binary_rubbish_is_refused(tmp_path, asked):
    for ending in ("json", "jsonl", "csv", "parquet"):
        path = tmp_path / f"p.{ending}"
        path.write_bytes(b"\xff\xfe\x00PAR1\xff" * 9)
        with pytest.raises(UserError, match=f"p.{ending}"):
            read_predictions(path, asked)


def test_huge_files_are_refused_before_they_are_read(tmp_path, asked, given, monkeypatch):
    for module in (prediction_files, tables):
        monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    small = write(tmp_path / "p.json", {"results": given})
    assert read_predictions(small, asked)
    huge = write(tmp_path / "h.json", {"results": given, "outputs": dict.fromkeys(given, "x" * 2**16)})
    with pytest.raises(UserError, match="at most 1,048,576 are read"):
        read_predictions(huge, asked)
    table = pd.DataFrame({"pid": list(given), "prediction": 0, "output": [f"{i}" + "x" * 2**16 for i in range(N_TEST)]})
    table.to_parquet(tmp_path / "h.parquet", compression="zstd")
    assert (tmp_path / "h.parquet").stat().st_size < 2**20
    with pytest.raises(UserError, match="MB decoded"):
        read_predictions(tmp_path / "h.parquet", asked)


def test_missing_file_and_unknown_rule(tmp_path, asked):
    with pytest.raises(UserError, match="no such predictions file"):
        read_predictions(tmp_path / "p.json", asked)
    with pytest.raises(UserError, match="no such rule: 'gpt'"):
        read_predictions(tmp_path / "p.json", asked, rule="gpt")


def test_a_long_text_is_read_in_no_time(tmp_path, asked, given):
    """No rule backtracks: 5 MB of what looks like the beginning of an answer."""
    lines = [{"question_id": pid, "text": "The answer is " * 7000} for pid in given]
    path = write(tmp_path / "p.jsonl", "\n".join(map(json.dumps, lines)))
    for rule in ("strict", "official", "llava", "mmcot"):
        assert read_predictions(path, asked, rule=rule).frame["unparsed"].notna().all()
