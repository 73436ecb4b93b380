"""ScienceQA's 4,241 real test questions, one in a hundred records and one in a hundred pictures broken."""

import json
import random
import shutil
import struct
import zlib
from pathlib import Path

import pandas as pd
import pytest

from mmadapter.cli.eval import main as eval_main
from mmadapter.cli.train import main

QUESTIONS = {"train": 64, "val": 16, "test": 4241}
RECORDS = (
    *(("answer", 99), ("answer", None), ("answer", "B"), ("choices", []), ("choices", ["a", None]), ("question", "")),
    *(("question", "half \ud83d"), ("hint", ["x"]), ("grade", "grade13"), ("subject", "history"), ("split", "exam")),
    *(("lecture", 5), ("image", "../image.png"), ("topic", "x" * 200_000)),
)
"""A field, and what no reader can use in it."""


def _bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0), b"IDAT", b"IEND")
    parts = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PICTURES = (lambda data: data[: len(data) // 2], lambda _: b"", lambda _: None, lambda _: _bomb(), lambda _: b"<html>")
"""What is left of a picture's file; None: nothing."""


def write_broken(source: Path, folder: Path, rng: random.Random) -> dict[str, set[str]]:
    """A part of the real data, in which every split has one in a hundred of both broken. Returns their pids."""
    problems = json.loads((source / "problems.json").read_text(encoding="utf-8"))
    splits = json.loads((source / "pid_splits.json").read_text())
    kept = {split: splits[split][:size] for split, size in QUESTIONS.items()}
    assert [len(pids) for pids in kept.values()] == list(QUESTIONS.values())
    lost = {}
    for split, pids in kept.items():
        shown = [pid for pid in pids if problems[pid]["image"]]
        for pid in shown:
            shutil.copytree(source / "images" / split / pid, folder / "images" / split / pid)
        pictures = rng.sample(shown, -(-len(shown) // 100))
        records = rng.sample([pid for pid in pids if pid not in pictures], -(-len(pids) // 100))
        for number, pid in enumerate(records):
            field, value = RECORDS[number % len(RECORDS)]
            problems[pid][field] = value
        for number, pid in enumerate(pictures):
            file = folder / "images" / split / pid / "image.png"
            left = PICTURES[number % len(PICTURES)](file.read_bytes())
            file.unlink() if left is None else file.write_bytes(left)
        lost[split] = {*pictures, *records}
    (folder / "problems.json").write_text(json.dumps({pid: problems[pid] for pids in kept.values() for pid in pids}))
    (folder / "pid_splits.json").write_text(json.dumps(kept))
    return lost


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_run_finishes_counts_and_names_them(scienceqa_folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path / "cache"))
    sizes = {len(json.loads((folder / "pid_splits.json").read_text())["test"]): folder for folder in scienceqa_folders}
    if QUESTIONS["test"] not in sizes:
        pytest.skip("no folder holds all of the test split")
    lost = write_broken(sizes[QUESTIONS["test"]], tmp_path / "data", random.Random(0))
    assert {split: len(pids) for split, pids in lost.items()} == {"train": 2, "val": 2, "test": 43 + 21}
    run = tmp_path / "run"
    arguments = ["--dataset", "scienceqa", "--data-dir", str(tmp_path / "data"), "--preset", "tiny", "--epochs", "1"]
    assert main([*arguments, "--quiet", "--output-dir", str(tmp_path / "stopped")]) == 2
    assert "--on-error skip" in capsys.readouterr().err
    assert main([*arguments, "--quiet", "--output-dir", str(run), "--on-error", "skip"]) == 0

    answered = set(json.loads((tmp_path / "data" / "pid_splits.json").read_text())["test"]) - lost["test"]
    assert "scienceqa test, 64 skipped" in capsys.readouterr().out
    table = json.loads((run / "table.json").read_text())
    assert (table["title"], table["n"]) == ("scienceqa test, 64 skipped", 4177)
    for variant in ("multimodal", "text"):
        assert set(pd.read_parquet(run / variant / "predictions.parquet")["pid"]) == answered
        metrics = json.loads((run / variant / "metrics.json").read_text())
        assert metrics["table"]["title"] == table["title"]
        for split, pids in lost.items():
            named = [each["pid"] for each in metrics["skipped_problems"] if each["splits"] == [split]]
            assert sorted(named) == sorted(pids)
        assert "68 broken problems were left out" in (run / variant / "README.md").read_text()

    assert eval_main([str(run)]) == 0
    out, err = capsys.readouterr()
    assert "scienceqa test, 64 skipped" in out
    assert err.count(": left out: ") == 64
    assert all(f"pid {pid}: " in err for pid in lost["test"])
