"""Alternation, quartiles, and what a result file says."""

import json
import re
import sys

import numpy as np
import pytest

from benchmarks.measure import Quartiles, Table, alternate, fastest, publish, rates, ratios, shown
from benchmarks.workload import Settings, images, questions
from mmadapter.errors import UserError


def test_every_round_starts_with_the_next_and_the_first_is_not_counted():
    calls = []
    spent = alternate({name: lambda name=name: calls.append(name) for name in "abc"}, rounds=3, seconds=60)
    assert "".join(calls) == "cab" + "abc" + "bca" + "cab"
    assert {name: len(seconds) for name, seconds in spent.items()} == {"a": 3, "b": 3, "c": 3}


def test_one_round_is_counted_even_when_time_is_over():
    assert [len(s) for s in alternate({"a": lambda: None}, rounds=9, seconds=0).values()] == [1]


def test_ratios_are_taken_round_by_round():
    fast, slow = [1.0, 2.0, 4.0], [3.0, 6.0, 12.0]  # a machine that slows down changes no ratio
    assert ratios(slow, fast) == Quartiles(3.0, 3.0, 3.0)
    assert rates(8, fast) == Quartiles(*np.quantile([8.0, 4.0, 2.0], [0.25, 0.5, 0.75]))
    assert fastest({"limit, a": [3, 9, 1], "limit, b": [2, 2, 2], "ours": [1, 1, 1]}, "limit") == "limit, b"


def test_a_result_file_says_how_it_was_made_and_not_where(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "--size", "tiny", "--output", str(tmp_path), f"--config={tmp_path}"])
    settings = Settings(size="tiny", device="cpu", output=tmp_path)
    publish("train", settings, {"lengths": "drawn"}, [Table("a title", [{"who": "ours", "rate": Quartiles(1, 2, 3)}])])
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert record["command"] == "python -m benchmarks.train --size tiny"
    assert record["tables"][0]["rows"] == [{"who": "ours", "rate": {"q1": 1, "median": 2, "q3": 3}}]
    assert record["settings"]["batch"] == 4
    assert {"torch", "transformers", "mmadapter"} <= set(record["versions"])
    assert str(tmp_path) not in path.read_text()
    printed = capsys.readouterr().out
    assert "a title" in printed
    assert re.search(r"^ours +2 \(1 to 3\)$", printed, re.MULTILINE)
    assert printed == f"{shown(record)}\n{path}\n"


@pytest.mark.parametrize("answer", ["letter", "text"])
def test_few_questions_are_as_long_as_many(answer, monkeypatch):
    """The drawn lengths have ScienceQA's mean: 72 tokens a prompt with letters, 66 with texts."""
    monkeypatch.delenv("MMADAPTER_SCIENCEQA", raising=False)
    asked, source = questions(Settings(questions=128, device="cpu"), answer)
    prompts = [len(question.prompt) for question in asked]
    assert source.startswith("drawn")
    assert np.mean(prompts) == pytest.approx({"letter": 72, "text": 66}[answer], rel=0.05)
    assert np.median(prompts) == pytest.approx({"letter": 57, "text": 51}[answer], rel=0.05)
    assert questions(Settings(questions=128, device="cpu"), answer)[0] == asked  # the same under one seed


def test_the_real_lengths_are_those_drawn(scienceqa_folders):
    from mmadapter.backbone.smollm2 import find_smollm2

    if find_smollm2() is None:
        pytest.skip("SmolLM2's tokenizer is not here")
    asked, source = questions(Settings(questions=512, device="cpu"))
    assert "test split" in source
    assert np.mean([len(question.prompt) for question in asked]) == pytest.approx(72.5, rel=0.02)
    assert {len(question.options[0]) for question in asked} == {5}


def test_half_of_the_questions_have_an_image(monkeypatch):
    monkeypatch.delenv("MMADAPTER_SCIENCEQA", raising=False)
    settings = Settings(size="tiny", questions=400, device="cpu")
    asked, _ = questions(settings)
    seen = images(settings, asked)
    assert len(seen.row) / len(asked) == pytest.approx(0.48, abs=0.07)
    assert seen.features.shape == (len(seen.row), 128)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"vocabulary": 10}, {"device": "abacus"}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError):
        Settings(**wrong)
