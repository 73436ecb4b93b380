"""The plan is what the run then does, and it comes before a weight is loaded."""

import json
from dataclasses import replace

import pytest

from mmadapter.cli.train import main
from mmadapter.config.files import config_yaml
from mmadapter.config.settings import InputFormat
from mmadapter.experiment import estimate, run
from mmadapter.experiment.estimate import TokenSeconds, run_seconds
from mmadapter.experiment.plan import make_plan
from mmadapter.experiment.prepare import prepare
from mmadapter.inference.tokenising import Encoder
from mmadapter.runs.folder import RunFolder
from mmadapter.storage.files import write_text
from tests.trained_runs import SIZES, colour_config


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(estimate, "PROBE_SECONDS", 0.01)


@pytest.fixture
def no_weights(monkeypatch):
    def fail(*arguments, **settings):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(run, "load_llm", fail)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    return replace(colour_config(tmp_path, epochs=1), output_dir=tmp_path / "run")


def test_it_counts_what_the_run_does(config, quick):
    prepared = prepare(config)
    plan = make_plan(prepared)
    assert plan.problems == SIZES
    assert plan.images == plan.new_images == sum(size - -(-size // 3) for size in SIZES.values())
    encode = Encoder(prepared.skeleton, config.part(InputFormat))
    read = [question.read_tokens for question in encode(prepared.data["train"])]
    assert plan.tokens["train"] == sum(map(len, read))
    run.run_experiment(config, quiet=True)
    folder = RunFolder(config.folder)
    for name, trainable in plan.trainable.items():
        assert json.loads(folder.variant(name).metrics.read_text())["trainable_parameters"] == trainable
    written = [file.stat().st_size for file in folder.path.rglob("*.safetensors")]
    assert sum(written) < 1.3 * plan.disk
    assert make_plan(prepared).new_images == 0
    assert folder.config.threads == prepared.threads.number


def test_dry_run_stops_there(config, quick, no_weights, capsys):
    arguments = ["--data-dir", str(config.data_dir[0]), "--llm", config.llm, "--clip", config.clip, "--scales", "2"]
    arguments += ["--adapter-layers", "3", "--output-dir", str(config.folder)]
    assert main(["--dataset", "scienceqa", "--preset", "tiny", *arguments, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "data        scienceqa: 48 train, 12 val, 41 test"
    assert [line.split()[0] for line in out.splitlines()][1:] == [
        *("images", "tokens", "parameters", "memory", "disk", "threads", "time")
    ]
    assert max(map(len, out.splitlines())) <= 100
    assert err == ""
    assert not config.folder.exists()


def test_a_wrong_folder_is_told_before_a_model_is_loaded(no_weights, capsys, tmp_path):
    assert main(["--dataset", "scienceqa", "--data-dir", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_seconds_by_hand(config):
    costs = TokenSeconds(1.0, 10.0, 100.0), TokenSeconds(1.0, 2.0, 3.0)
    tokens = {"train": 7, "val": 5, "test": 2}
    config = replace(config, adapter_layers=3, epochs=2)
    epoch = 7 * (1 + 10 + 200) + 5 * (1 + 2 + 6)
    assert run_seconds(config, costs, tokens, layers=4, variants=2) == 2 * (2 * epoch + 2 * (1 + 2 + 6))
    stored = replace(config, store_activations=True)
    epoch = 7 * (10 + 200) + 5 * (2 + 6)
    assert run_seconds(stored, costs, tokens, layers=4, variants=2) == 2 * (2 * epoch + 2 * (2 + 6)) + 14


def test_a_resume_keeps_the_number_of_threads(config, monkeypatch):
    begun = replace(config, threads=2)
    write_text(RunFolder(config.folder).config_file, config_yaml(begun))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert prepare(config, resume=True).threads.number == 2
    assert prepare(replace(config, threads=1), resume=True).threads.number == 1
    assert prepare(config).threads.reason == "OMP_NUM_THREADS"
