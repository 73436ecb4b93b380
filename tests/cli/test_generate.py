"""Instructions from training to a response, as a user meets them: tiny settings, every message."""

import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from mmadapter.cli.eval import main as eval_main
from mmadapter.cli.generate import main
from mmadapter.cli.train import main as train_main
from tests.trained_runs import write_backbones


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """An adapter that has learnt to say "y", and to stop."""
    folder = tmp_path_factory.mktemp("instructions")
    file = folder / "alpaca_data.json"
    lengths = [60 if n % 5 == 2 else 10 + n % 4 for n in range(30)]  # 60 do not fit
    records = [
        {"instruction": f"Agree {n:02}!", "input": "x " * length, "output": "y"} for n, length in enumerate(lengths)
    ]
    file.write_text(json.dumps([*records, {"instruction": "Nothing?", "input": "", "output": ""}]))
    llm, _ = write_backbones(folder)
    given = ["--dataset", "alpaca", "--data-dir", file, "--preset", "tiny", "--llm", llm, "--on-error", "skip"]
    recipe = ["--adapter-layers=3", "--epochs=12", "--learning-rate=0.1", "--batch-size=6", "--prompt-std=0.3"]
    where = ["--output-dir", folder / "run", "--quiet", "--debug"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMADAPTER_CACHE", str(folder / "cache"))
        assert train_main([*map(str, given), *recipe, "--max-tokens=320", *map(str, where)]) == 0
        yield folder / "run"


def test_a_run_of_instructions_is_complete_and_tells_frozen_from_adapted(run):
    frozen, adapted = json.loads((run / "table.json").read_text())
    assert (frozen["name"], frozen["exact"], frozen["n"]) == ("frozen", 0.0, 3)
    assert (adapted["name"], adapted["exact"], adapted["n"]) == ("adapter", 100.0, 3)
    assert adapted["loss"] < 1 < frozen["loss"]
    metrics = json.loads((run / "text" / "metrics.json").read_text())
    assert metrics["epochs"][-1]["val_accuracy"] is None
    assert adapted["loss"] == pytest.approx(min(epoch["val_loss"] for epoch in metrics["epochs"]), abs=1e-5)
    assert metrics["truncated_prompts"] == 1
    assert [(s["pid"], s["splits"], s["reason"]) for s in metrics["skipped_problems"]] == [
        ("31", ["train"], "is empty")
    ]
    predictions = pd.read_parquet(run / "text" / "predictions.parquet")
    assert predictions["output"].str.strip().tolist() == ["y"] * 3
    files = {"README.md", "adapter.safetensors", "adapter_config.json", "config.yaml", "log.jsonl", "metrics.json"}
    assert files < {path.name for path in (run / "text").iterdir()}
    assert "| frozen |" in (run / "README.md").read_text()


def test_eval_and_resume_read_the_run(run, capsys):
    assert eval_main([str(run), "--format", "csv"]) == 0
    assert "100.0" in capsys.readouterr().out
    before = (run / "text" / "adapter.safetensors").read_bytes()
    assert train_main(["--resume", "--output-dir", str(run), "--quiet"]) == 0
    assert (run / "text" / "adapter.safetensors").read_bytes() == before


def test_a_prompt_lines_and_a_bare_adapter(run, tmp_path, capsys, monkeypatch):
    assert main([str(run), "--prompt", "Agree 99!", "--context", "x " * 11]) == 0
    assert capsys.readouterr().out == "y\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("Agree 40!\n\n  Agree 41!\n"))
    assert main([str(run / "text"), "--temperature", "0", "--context", "x " * 12]) == 0
    assert capsys.readouterr().out == "y\ny\n"
    for name in ("adapter.safetensors", "adapter_config.json"):
        (tmp_path / name).write_bytes((run / "text" / name).read_bytes())
    assert main([str(tmp_path), "--prompt", "Agree 99!", "--context", "x " * 10]) == 0
    assert capsys.readouterr().out == "y\n"


def test_at_a_terminal_it_asks_until_ctrl_d(run):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "import sys; from mmadapter.cli.generate import main; sys.exit(main())", str(run)]
    command += ["--context", "x " * 11]

    def until(end: str) -> str:
        shown = ""
        while not shown.endswith(end) and select.select([ours], [], [], 100)[0]:
            shown += os.read(ours, 1000).decode()
        return shown

    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        try:
            os.close(theirs)
            until("> ")
            os.write(ours, b"Agree 50!\n")
            assert "\ny\r\n" in until("> ").replace("\r\r", "\r")
            os.write(ours, b"\x04")
            _, err = process.communicate(timeout=100)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 0, err
    assert "An instruction; Ctrl-C stops a response, Ctrl-D ends" in err


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_embedded_instructions_are_followed_with_the_adapter_and_not_without(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train_main(["--dataset", "demo-instructions", "--output-dir", str(folder), "--quiet"]) == 0
    frozen, adapted = json.loads((folder / "table.json").read_text())
    assert frozen["exact"] <= 1
    assert adapted["exact"] >= 80
    assert min(adapted["by_topic"].values()) > 40
    capsys.readouterr()
    asked = ["--prompt", "What kind of sentence is this? Did Kate bake some bread in Hilo?"]
    assert main([str(folder), *asked]) == 0
    assert capsys.readouterr().out == "interrogative\n"


def test_ctrl_c_is_polite(run, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmadapter.inference.responder.Responder.say", interrupted)
    assert main([str(run), "--prompt", "Agree!"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "mmadapter-generate: interrupted"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "a", "--interactive"], "--prompt and --interactive: choose one"),
        (["--prompt", "a", "--top-p", "0"], "--top-p above 0 and at most 1"),
        (["--prompt", "a", "--temperature", "-1"], "--temperature at least 0"),
        (["--prompt", "a", "--max-new-tokens", "0"], "--max-new-tokens must be at least 1"),
        (["--prompt", "a", "--image", "a.png"], "this adapter is text-only: it sees no image"),
    ],
)
def test_wrong_arguments(run, capsys, arguments, message):
    assert main([str(run), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_not_there(capsys, tmp_path):
    assert main([str(tmp_path / "none"), "--prompt", "Agree!"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "loading the model",
        f"mmadapter-generate: {tmp_path}/none: no such folder",
    ]


def test_stopped_while_it_loads_it_promises_nothing(capsys, monkeypatch):
    def stopped(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmadapter.experiment.reload.load_run_or_adapter", stopped)
    assert main(["run", "--prompt", "Agree!"]) == 1
    assert capsys.readouterr().err.splitlines() == ["loading the model", "mmadapter-generate: interrupted"]
