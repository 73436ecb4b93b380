"""mmadapter-errors: the frame in a file, and a look at it."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from mmadapter.cli.errors import Settings, main, write_frame
from mmadapter.cli.options import _field_texts
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import error_frame
from mmadapter.evaluation.predictions import predictions_frame
from tests.evaluation.questions import N_TEST, answers, questions


@pytest.fixture
def asked(tmp_path):
    return questions(tmp_path / "data")["test"]


@pytest.fixture
def files(tmp_path, asked):
    for name, right in (("first", 0.8), ("second", 0.3)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": answers(asked, right)}))
    return [str(tmp_path / f"{name}.json") for name in ("first", "second")]


@pytest.fixture
def where(tmp_path):
    return ["--dataset", "scienceqa", "--data-dir", str(tmp_path / "data")]


def test_parquet_is_the_error_frame(files, where, asked, tmp_path, capsys):
    assert main([*files, *where, "--output", str(tmp_path / "e.parquet")]) == 0
    given = {
        name: predictions_frame(list(answers(asked, right)), prediction=list(answers(asked, right).values()))
        for name, right in (("first", 0.8), ("second", 0.3))
    }
    written = pd.read_parquet(tmp_path / "e.parquet")
    written["choices"] = written["choices"].map(list)
    pd.testing.assert_frame_equal(written, error_frame(given, asked), check_index_type=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{tmp_path}/e.parquet: 53 of 53 questions\n"


def test_csv_of_a_query(files, where, asked, tmp_path, capsys):
    query = "not correct and grade > 6"
    assert main([files[0], *where, "--query", query, "--output", str(tmp_path / "e.csv"), "--quiet"]) == 0
    written = pd.read_csv(tmp_path / "e.csv", dtype={"pid": str})
    given = answers(asked, 0.8)
    assert written["pid"].tolist() == [p.pid for p in asked if given[p.pid] != p.answer and p.grade > 6]
    assert json.loads(written["choices"][0]) == list(asked.problems[written["pid"][0]].choices)
    assert capsys.readouterr().err == ""


def test_prints_what_was_answered_wrong(files, where, asked, capsys):
    assert main([*files, *where]) == 0
    out = capsys.readouterr().out
    a, b = answers(asked, 0.8), answers(asked, 0.3)
    wrong = [p for p in asked if a[p.pid] != p.answer or b[p.pid] != p.answer]
    assert f"scienceqa test: {len(wrong)} of {N_TEST} questions that a system got wrong" in out
    line = next(line for line in out.splitlines() if line.startswith(wrong[0].pid))
    letters = ["ABCDE"[i] for i in (wrong[0].answer, a[wrong[0].pid], b[wrong[0].pid])]
    assert line.split()[2:5] == letters
    assert f"... {len(wrong) - 20} more" in out


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--query", "nonsense > 1"], "name 'nonsense' is not defined\n  columns: split, subject"),
        (["--query", "grade >"], "invalid syntax"),
        (["--query", "grade"], "'grade' is no condition"),
        (["--query", "@x"], "--query '@x'"),
        (["--output", "e.xlsx"], "must end in .parquet or .csv"),
        (["--output", "/nowhere/e.csv"], "cannot be written"),
    ],
)
def test_a_users_mistake(changed, told, files, where, capsys):
    assert main([files[0], *where, *changed]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.startswith("mmadapter-errors: ")
    assert err.count("\n") <= 2


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_failed_write_keeps_the_file_that_was_there(suffix, tmp_path, monkeypatch):
    file, frame = tmp_path / f"errors{suffix}", pd.DataFrame({"a": [1, 2]})
    write_frame(frame, file)
    before = file.read_bytes()

    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        write_frame(frame, file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_the_example_of_the_help_holds_for_several_systems_too(files, where, asked, tmp_path):
    example = re.search(r"such as '(.*?)'", _field_texts(Settings)["query"])[1]
    assert main([*files, *where, "--query", example, "--output", str(tmp_path / "e.csv")]) == 0
    a, b = answers(asked, 0.8), answers(asked, 0.3)
    expected = [p.pid for p in asked if (a[p.pid] != p.answer or b[p.pid] != p.answer) and p.grade > 6]
    assert pd.read_csv(tmp_path / "e.csv", dtype={"pid": str})["pid"].tolist() == expected
