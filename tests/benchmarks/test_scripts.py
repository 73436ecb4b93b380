"""Each script, whole, at the smallest size: it measures, prints and writes what it says."""

import json
import sys
from argparse import ArgumentParser
from dataclasses import replace

import pytest

from benchmarks import answers, costs, images, memory, score, startup, train
from benchmarks.workload import Settings
from mmadapter.cli.options import add_options


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.delenv("MMADAPTER_SCIENCEQA", raising=False)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    small = {"size": "tiny", "vocabulary": 211, "adapter_layers": 2, "questions": 5, "rounds": 1}
    return Settings(**small, device="cpu", output=tmp_path)


def result(settings):
    (path,) = settings.output.glob("*.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "kind",
    [Settings, score.ScoreSettings, images.ImageSettings, startup.StartSettings, answers.AnswerSettings],
)
def test_every_setting_has_one_flag(kind):
    add_options(parser := ArgumentParser(), kind)
    assert parser.parse_args([]).output is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_train(settings, dtype):
    train.main(replace(settings, dtype=dtype))
    record = result(settings)
    rows = {row["contender"]: row for row in record["tables"][0]["rows"]}
    assert {"limit, packed", "limit, one by one", "mmadapter, text-only", "mmadapter, stored", "PEFT"} <= set(rows)
    assert rows[record["workload"]["the limit"]]["time over the limit's"]["median"] == 1
    assert rows["mmadapter, text-only"]["time over ours"]["median"] == 1
    assert len(record["tables"]) == 1  # hours are projected on a GPU alone


def test_without_stored_activations_where_every_layer_is_adapted(settings, capsys):
    train.main(replace(settings, adapter_layers=4))
    assert "mmadapter, stored" not in {row["contender"] for row in result(settings)["tables"][0]["rows"]}
    assert "mmadapter, stored is left out: all layers are adapted" in capsys.readouterr().out


def test_projected_hours():
    hours = train.projected_hours(tokens_per_second=10_000, tokens_per_question=100)
    assert hours == {
        "ScienceQA, 30 epochs, h": pytest.approx(12_726 * 30 * 100 / 10_000 / 3600),
        "Alpaca 52K, 5 epochs, h": pytest.approx(52_002 * 120 * 5 / 10_000 / 3600),
    }


@pytest.mark.parametrize(("answer", "others"), [("letter", 9), ("text", 7)])
def test_score(settings, answer, others):
    fields = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    score.main(score.ScoreSettings(**fields, answer=answer))
    rows = result(settings)["tables"][0]["rows"]
    assert len(rows) == others
    assert all(row["questions/s"]["median"] > 0 for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(not memory.CLEAR.exists(), reason="peak memory is read from Linux's /proc")
def test_memory(settings):
    memory.main(settings)
    rows = {row["contender"]: row for row in result(settings)["tables"][0]["rows"]}
    assert rows["PEFT"]["of PEFT's"]["median"] == 1
    assert all(row["beyond the model MiB"]["median"] > 0 for row in rows.values())


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="peak memory is read from Linux's /proc")
def test_a_peak_is_seen_after_it_has_passed():
    memory.CLEAR.write_text("5")
    before = memory.resident("VmHWM")
    held = bytearray(64 * memory.MIB)
    held[:: 4096 // 2] = b"x" * len(held[:: 4096 // 2])
    del held
    assert memory.resident("VmHWM") - before > 60 * memory.MIB
    memory.CLEAR.write_text("5")
    assert memory.resident("VmHWM") - before < 60 * memory.MIB


@pytest.mark.slow
def test_costs(settings, monkeypatch):
    monkeypatch.setattr(costs, "LENGTHS", (8, 16))
    monkeypatch.setattr(costs, "BATCHES", (1, 2))
    costs.main(settings)
    axes = [next(iter(table["rows"][0])) for table in result(settings)["tables"]]
    assert axes == [
        "prompt tokens",
        "batch size",
        "K, adaption prompts",
        "L, adapted layers",
        "questions with an image",
    ]


def test_images(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    settings = images.ImageSettings(clip="tiny-clip", images=5, rounds=1, device="cpu", output=tmp_path)
    images.main(settings)
    rows = {row["what"].split(":")[0]: row["images/s"]["median"] for row in result(settings)["tables"][0]["rows"]}
    assert rows["second run"] > rows["first run"]


def test_no_answer_is_another_than_the_plain_ways(colour_run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    settings = answers.AnswerSettings(run=colour_run, output=tmp_path)
    answers.main(settings)
    (row,) = result(settings)["tables"][0]["rows"]
    assert row["questions"] == "41"
    assert row["other answers"] == 0
    assert row["largest difference of a probability"] < 1e-5
