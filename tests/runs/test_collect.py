"""Which questions are asked when runs and files are named."""

import pandas as pd
import pytest

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.runs.collect import collect, drawn
from mmadapter.scienceqa.resplit import wording_split
from tests.evaluation.questions import N_TEST, answers, write_questions
from tests.evaluation.test_prediction_files import write
from tests.runs.test_folder import write_run
from tests.scienceqa.conftest import raw_record


@pytest.fixture
def folder(tmp_path):
    return write_questions(tmp_path / "data")


@pytest.fixture
def make_run(tmp_path, folder, data):
    def make(name, *, limit=None, split="test", **settings):
        pids = [problem.pid for problem in data[split]][:limit]
        frame = predictions_frame(pids, prediction=[0] * len(pids))
        lines = {"dataset": "scienceqa", "data_dir": [str(folder)], "split": split, "limit": limit} | settings
        text = "\n".join(f"{key}: {'null' if value is None else value}" for key, value in lines.items())
        return write_run(tmp_path / name, frame, text).path

    return make


def test_a_run_brings_its_questions(make_run):
    scored = collect([make_run("run")], [])
    assert scored.title == "scienceqa test"
    assert [s.name for s in scored.systems] == ["multimodal", "text"]
    assert len(scored.questions) == len(scored.data) == N_TEST


def test_runs_and_files_in_one_table(make_run, tmp_path, data):
    (tmp_path / "other").mkdir()
    files = [write(tmp_path / part / "text.json", {"results": answers(data["test"], 1.0)}) for part in ("", "other")]
    scored = collect([make_run("first"), make_run("second")], files)
    names = [
        "first/multimodal",
        "first/text",
        "second/multimodal",
        "second/text",
        f"{tmp_path.name}/text",
        "other/text",
    ]
    assert [system.name for system in scored.systems] == names


def test_a_run_keeps_its_split_and_limit(make_run):
    assert collect([make_run("val", split="val")], []).title == "scienceqa val"
    scored = collect([make_run("short", limit=5)], [])
    assert scored.title == "scienceqa test, first 5"
    assert len(scored.questions) == 5


def test_a_run_that_skipped_is_scored_over_the_rest_and_says_so(make_run):
    """Its answers to the first 50 of 53 stand for broken pictures that were left out."""
    run = make_run("run", limit=50, on_error="skip")
    for file in run.rglob("config.yaml"):
        file.write_text(file.read_text().replace("limit: 50", "limit: null"))
    scored = collect([run], [])
    assert scored.title == "scienceqa test, 3 skipped"
    assert len(scored.questions) == 50


def test_data_can_be_elsewhere(make_run, folder, tmp_path):
    run = make_run("run", data_dir=["/gone"])
    with pytest.raises(UserError, match="gone"):
        collect([run], [])
    assert len(collect([run], [], data_dir=[folder]).questions) == N_TEST


def test_what_cannot_be_asked(make_run, folder, tmp_path, data):
    file = write(tmp_path / "a.json", {"results": answers(data["test"], 1.0)})
    with pytest.raises(UserError, match="nothing to evaluate"):
        collect([], [])
    with pytest.raises(UserError, match=r"whose questions .* --dataset"):
        collect([], [file])
    with pytest.raises(UserError, match="no split 'tset'"):
        collect([], [file], dataset="scienceqa", data_dir=[folder], split="tset")
    with pytest.raises(UserError, match="7 questions have no prediction"):
        collect([], [file], dataset="scienceqa", data_dir=[folder], split="val")
    run = make_run("run")
    with pytest.raises(UserError, match="no predictions of val are stored for multimodal and text"):
        collect([run], [], split="val")
    with pytest.raises(UserError, match=r"limit is None in .*run, 5 in .*short"):
        collect([run, make_run("short", limit=5)], [])
    with pytest.raises(UserError, match="not a run directory"):
        collect([tmp_path / "nowhere"], [])


def test_a_run_keeps_its_own_way_of_splitting(make_run):
    with pytest.raises(UserError, match="--resplit wording: the run was trained on the official split"):
        collect([make_run("run")], [], resplit="wording")
    with pytest.raises(UserError, match=r"resplit is official in .*, wording in "):
        collect([make_run("one"), make_run("other", resplit="wording")], [])


def test_a_resplit_says_what_is_not_at_hand(tmp_path):
    listed = wording_split()["test"]
    (tmp_path / "few").mkdir()
    write_questions(tmp_path / "few", {pid: raw_record(split="train") for pid in listed[:2]})
    file = write(tmp_path / "some.json", {"results": dict.fromkeys(listed[:2], 0)})
    scored = collect([], [file], dataset="scienceqa", data_dir=[tmp_path / "few"], resplit="wording")
    assert scored.title == f"scienceqa test, wording-disjoint resplit, {len(listed) - 2} not at hand"


def test_some_answers_are_scored_where_that_is_allowed(folder, tmp_path, data):
    asked = [problem.pid for problem in data["test"]]
    for name, pids in (("most", asked[:-3]), ("last", asked[2:])):
        file = tmp_path / f"{name}.csv"
        file.write_text("pid,prediction\n" + "".join(f"{pid},0\n" for pid in pids))
    files = [tmp_path / "most.csv", tmp_path / "last.csv"]
    with pytest.raises(UserError, match=r"3 questions have no prediction: .*\n  --allow-missing"):
        collect([], files, dataset="scienceqa", data_dir=[folder])
    scored = collect([], files, dataset="scienceqa", data_dir=[folder], allow_missing=True)
    assert list(scored.questions.index) == asked[2:-3] == [problem.pid for problem in scored.data]
    assert all(system.frame["pid"].tolist() == asked[2:-3] for system in scored.systems)
    assert f"{len(asked) - 5} of {len(asked)} questions" in scored.title


def test_a_sample_is_the_same_in_any_order_and_within_a_larger_one():
    pids = pd.Index([str(number) for number in range(400)])
    few, more = drawn(pids, 40, 1), drawn(pids, 90, 1)
    assert set(few) < set(more)
    assert list(few) == [pid for pid in pids if pid in set(few)]
    assert set(drawn(pids[::-1], 40, 1)) == set(few) != set(drawn(pids, 40, 2))
    with pytest.raises(UserError, match="--sample 401: there are 400 questions"):
        drawn(pids, 401, 1)
