"""mmadapter-train as a user meets it: a small demo, the embedded backbones, every message."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from eval.demo import write_demo
from mmadapter.cli.errors import main as errors_main
from mmadapter.cli.eval import main as eval_main
from mmadapter.cli.train import main

SIZES = {"train": 60, "val": 30, "test": 60}
VARIANT_FILES = {
    *("README.md", "adapter.safetensors", "adapter_config.json", "attention.json", "checkpoint.safetensors"),
    "checkpoint.previous.safetensors",
    *("config.yaml", "log.jsonl", "metrics.json", "predictions.parquet"),
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMADAPTER_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("data") / "demo", sizes=SIZES)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "demo"
    assert main(["--dataset", "demo", "--data-dir", str(data), "--epochs", "1", "--output-dir", str(folder)]) == 0
    return folder


def test_a_run_directory_is_complete(run):
    files = {".lock", "README.md", "ceiling.parquet", "config.yaml", "multimodal", "table.json", "text"}
    assert {path.name for path in run.iterdir()} == files
    for variant in ("multimodal", "text"):
        assert {path.name for path in (run / variant).iterdir()} == VARIANT_FILES
        frame = pd.read_parquet(run / variant / "predictions.parquet")
        assert len(frame) == SIZES["test"]
        assert frame["prediction"].notna().all()
        metrics = json.loads((run / variant / "metrics.json").read_text())
        assert [epoch["epoch"] for epoch in metrics["epochs"]] == [1]
    table = json.loads((run / "table.json").read_text())
    assert [row["name"] for row in table["systems"]] == ["multimodal", "text", "ceiling"]


def test_the_saved_configuration_reproduces_the_run(run, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["--config", str(run / "config.yaml"), "--output-dir", str(again), "--quiet"]) == 0
    for variant in ("multimodal", "text"):
        for name in ("adapter.safetensors", "predictions.parquet"):
            assert (again / variant / name).read_bytes() == (run / variant / name).read_bytes()


def test_the_python_interface_gives_the_runs_answers(run, data):
    import mmadapter as mma

    questions = mma.load_dataset("demo", data)
    model = mma.MultimodalAdapter.from_pretrained(run / "multimodal")
    predictions = mma.predict(model, questions["test"], quiet=True)
    stored = pd.read_parquet(run / "multimodal" / "predictions.parquet")
    assert predictions["prediction"].tolist() == stored["prediction"].tolist()
    table = mma.accuracy_table(mma.error_frame(predictions, questions))
    metrics = json.loads((run / "multimodal" / "metrics.json").read_text())
    assert table["Avg"].iloc[0] == pytest.approx(
        metrics["table"]["systems"][0]["columns"]["Avg"]["accuracy"], abs=0.005
    )


def test_eval_and_errors_read_the_run(run, capsys, tmp_path):
    assert eval_main([str(run), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("multimodal,")
    assert errors_main([str(run), "--output", str(tmp_path / "errors.csv"), "--query", "has_image"]) == 0
    assert pd.read_csv(tmp_path / "errors.csv")["has_image"].all()


def test_a_finished_run_is_not_written_over_but_resumes_to_itself(run, capsys):
    before = {path: path.read_bytes() for path in run.glob("*/adapter.safetensors")}
    assert main(["--output-dir", str(run)]) == 2
    assert "holds a run already: --resume goes on with it" in capsys.readouterr().err
    assert main(["--resume", "--output-dir", str(run), "--quiet"]) == 0
    assert {path: path.read_bytes() for path in run.glob("*/adapter.safetensors")} == before
    assert main(["--resume", "--output-dir", str(run), "--epochs", "3"]) == 2
    assert "cannot resume: this run has another epochs" in capsys.readouterr().err


def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_adapter(run, data, tmp_path):
    folder = tmp_path / "stopped"
    command = [sys.executable, "-c", "import sys; from mmadapter.cli.train import main; sys.exit(main())"]
    settings = ["--config", str(run / "config.yaml"), "--output-dir", str(folder)]
    with subprocess.Popen([*command, *settings], stderr=subprocess.PIPE, text=True) as process:
        log = folder / "multimodal" / "log.jsonl"
        deadline = time.monotonic() + 120
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"interrupted; `mmadapter-train --resume --output-dir {folder}` goes on from here" in err
    assert main(["--resume", "--output-dir", str(folder), "--quiet"]) == 0
    for variant in ("multimodal", "text"):
        expected = (run / variant / "adapter.safetensors").read_bytes()
        assert (folder / variant / "adapter.safetensors").read_bytes() == expected


def broken(data: Path, folder: Path, name: str) -> Path:
    """A copy of the data whose first test problem with an image has a defect."""
    shutil.copytree(data, folder)
    problems = json.loads((folder / "problems.json").read_text())
    pid = next(pid for pid, problem in problems.items() if problem["split"] == "test" and problem["image"])
    image = folder / "images" / "test" / pid / "image.png"
    if name == "missing":
        image.unlink()
    elif name == "truncated":
        image.write_bytes(image.read_bytes()[:60])
    elif name == "answer":
        problems[pid]["answer"] = 9
    (folder / "problems.json").write_text(json.dumps(problems))
    return folder


@pytest.mark.parametrize("defect", ["missing", "truncated", "answer"])
def test_a_broken_problem_is_named_or_counted(data, tmp_path, capsys, defect):
    folder = broken(data, tmp_path / "data", defect)
    arguments = ["--dataset", "demo", "--data-dir", str(folder), "--epochs", "1", "--quiet"]
    assert main([*arguments, "--output-dir", str(tmp_path / "stop")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mmadapter-train: ")
    assert str(folder) in message
    assert "Traceback" not in message
    skipping = tmp_path / "skip"
    assert main([*arguments, "--on-error", "skip", "--variant", "multimodal", "--output-dir", str(skipping)]) == 0
    capsys.readouterr()
    metrics = json.loads((skipping / "multimodal" / "metrics.json").read_text())
    assert len(metrics["skipped_problems"]) == 1
    assert len(pd.read_parquet(skipping / "multimodal" / "predictions.parquet")) == SIZES["test"] - 1
    assert eval_main([str(skipping)]) == 0
    assert "1 skipped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epocs", "3"], "unrecognized arguments: --epocs 3: did you mean --epochs?"),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3: did you mean --epochs?"),  # no abbreviations
        (["--epochs", "three"], "--epochs: 'three' is not of type int"),
        (["--epochs", "0"], "epochs is 0: it must be at least 1"),
        (["--components", "-1"], "components is -1: it must be at least 1"),
        (["--adapter-layers", "0"], "adapter_layers is 0: it must be at least 1"),
        (["--split", "exam"], "no split 'exam'; there are: "),
        (["--adapter-layers", "99"], "adapter_layers is 99, but tiny-llama has 4 layers: choose 1 to 4"),
        (["--llm", "nowhere"], "--llm nowhere: no such file, folder or embedded model"),
        (["--clip", "nowhere"], "nowhere: no such image tower"),
        (["--data-dir", "nowhere"], "no ScienceQA problems at nowhere"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--resume"], "--resume needs --output-dir"),
        (["--device", "abacus"], "--device abacus: "),
    ],
)
def test_wrong_arguments(data, tmp_path, capsys, arguments, message):
    given = [] if "--resume" in arguments else ["--output-dir", str(tmp_path / "run")]
    where = [] if "--data-dir" in arguments else ["--data-dir", str(data)]
    assert main([*given, *where, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) <= 3
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_for_the_run_is_told_before_it_begins(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    assert main(["--data-dir", str(data), "--output-dir", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err.strip()
    assert told.endswith("run: its checkpoints take 0.04 GB, 0.00 GB are free")
    assert not (tmp_path / "run").exists()


def test_print_config_is_complete_and_reads_back(tmp_path, capsys):
    assert main(["--preset", "paper", "--print-config"]) == 0
    file = tmp_path / "paper.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["--config", str(file), "--seed", "5", "--print-config"]) == 0
    assert capsys.readouterr().out == file.read_text().replace("seed: 0", "seed: 5")
    assert main(["--preset", "paper", "--llm", "other/model", "--print-config"]) == 0
    assert "adapter_layers: null" in capsys.readouterr().out  # its share of whatever depth that model has


def test_what_a_preset_switches_on_is_switched_off_by_a_file_or_a_flag(tmp_path, capsys):
    file = tmp_path / "off.yaml"
    file.write_text("preset: small\nstore_activations: false\n")
    for told, stored in [
        (["--preset", "small"], "true"),
        (["--preset", "small", "--no-store-activations"], "false"),
        (["--config", str(file)], "false"),
        (["--config", str(file), "--store-activations"], "true"),
    ]:
        assert main([*told, "--print-config"]) == 0
        assert f"store_activations: {stored}\n" in capsys.readouterr().out


def test_a_wrong_number_in_a_file_names_the_file(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text("learning_rate: -1.0\n")
    assert main(["--config", str(file), "--epochs", "1"]) == 2
    assert capsys.readouterr().err == f"mmadapter-train: {file}: learning_rate is -1.0: it must be above 0\n"
    assert main(["--config", str(file), "--learning-rate", "1", "--print-config"]) == 0
