"""Where a run keeps what, and what is read from there."""

import json

import pytest

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.runs.collect import read_answers, unanswered
from mmadapter.runs.folder import RunFolder, StoredAnswers, VariantFolder
from tests.evaluation.questions import N_TEST, answers


@pytest.fixture
def given(data) -> dict[str, int]:
    return answers(data["test"], 0.5)


def write_run(folder, frame, settings="answer: letter", variants=("multimodal", "text")):
    for variant in variants:
        (folder / variant).mkdir(parents=True)
        (folder / variant / "config.yaml").write_text(settings)
        (folder / variant / "adapter_config.json").write_text(json.dumps({}))
        frame.to_parquet(folder / variant / "predictions.parquet")
    (folder / "config.yaml").write_text(settings)
    return RunFolder(folder)


@pytest.mark.parametrize(
    ("settings", "output", "rule"),
    [
        ("answer: letter", "(A)", "strict"),
        ("answer: text", "rock", "option text"),
        ("answer: text", None, "likelihood"),
    ],
)
def test_run(settings, output, rule, tmp_path, asked, given):
    frame = predictions_frame(
        list(given),
        prediction=list(given.values()),
        output=[output] * N_TEST,
        probabilities=[None if output else [0.5] * n for n in asked["n_choices"]],
    )
    run = write_run(tmp_path / "run", frame, settings)
    assert [variant.name for variant in run.variants] == ["multimodal", "text"]
    found = [read_answers(variant.answers("test"), asked) for variant in run.variants]
    assert [read.name for read in found] == ["multimodal", "text"]
    assert {read.rule for read in found} == {rule}
    assert found[1].frame["prediction"].tolist() == list(given.values())
    assert unanswered([run.path], split="test") == {}
    assert list(unanswered([run.path], split="val")) == [run.path]
    assert [variant.name for variant in RunFolder(run.path / "text").variants] == ["text"]


def test_run_of_another_split(tmp_path, given):
    frame = predictions_frame(list(given), prediction=list(given.values()))
    run = write_run(tmp_path / "run", frame, "split: val", variants=("text",))
    assert [each.variant.name for each in unanswered([run.path], split="test")[run.path]] == ["text"]
    assert unanswered([run.path], split="val") == unanswered([run.path]) == {}


def test_no_run(tmp_path):
    with pytest.raises(UserError, match="not a run directory: there is no config"):
        _ = RunFolder(tmp_path / "nowhere").config
    (tmp_path / "config.yaml").write_text("dataset: demo")
    with pytest.raises(UserError, match="no variant's folder in it holds a config"):
        _ = RunFolder(tmp_path).variants


def test_answers_to_another_split_or_by_another_scoring_have_a_suffix(tmp_path):
    (tmp_path / "config.yaml").write_text("split: val\nscoring: generate\n")
    variant = RunFolder(tmp_path).variant("text")
    names = {
        ("val", "generate"): "predictions.parquet",
        (None, None): "predictions.parquet",
        ("test", None): "predictions-test.parquet",
        (None, "likelihood"): "predictions-likelihood.parquet",
        ("test", "likelihood"): "predictions-test-likelihood.parquet",
    }
    assert {key: variant.answers(*key).predictions.name for key in names} == names
    other = variant.answers("test")
    assert other.controls.name == "controls-test.parquet"
    assert other.controls_summary.name == "controls-test.json"
    assert other.unfinished_controls.name == "controls-test-unfinished"


def test_a_variant_taken_out_of_its_run_is_its_own(tmp_path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "config.yaml").write_text("dataset: demo")
    alone = VariantFolder(tmp_path / "alone")
    assert alone.run.path == alone.path
    assert not alone.is_trained
    assert StoredAnswers(alone).predictions == tmp_path / "alone" / "predictions.parquet"
