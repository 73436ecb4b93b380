"""The one door to every data set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.layout import read_layout
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import BrokenProblem, BrokenProblems, OnError
from mmadapter.storage.files import write_errors
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import cache_dir

DATASETS = ("demo", "scienceqa", "demo-instructions", "alpaca")

DEMO_FOLDER = "demo-seed0-v2"
"""Folder in the cache; the version counts changes of the generator."""


def load_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    on_error: OnError = "stop",
) -> Dataset:
    """Load the typed problems of a data set and its splits. Pictures are read when they are needed.

    Args:
        name: "scienceqa", or "demo": ScienceQA in miniature, generated once into the cache folder; "alpaca", or
            "demo-instructions": instructions in miniature, generated in memory (`mmadapter.instructions`).
        data_dir: one folder or several, each in the original layout (`layout`) or the hub's (`parquet`). A
            problem is taken from the first folder that holds its pid; lists of the same split are joined in
            the folders' order. Without it the demo is generated and ScienceQA comes from the hub. For "alpaca" the
            JSON file, or the folder that holds `alpaca_data.json`.
        on_error: whether a broken problem stops the reading, or is left out and counted in `skipped`.

    Raises:
        UserError: no such data set, nothing to read, a broken file or problem.
    """
    if name not in DATASETS:
        raise UserError(f"no data set {name!r}: choose {' or '.join(DATASETS)}")
    if name in ("demo-instructions", "alpaca"):
        return _instructions(name, data_dir, on_error)
    if data_dir is None:
        folders = [_demo_folder() if name == "demo" else _hub_folder()]
    elif isinstance(data_dir, (str, os.PathLike)):
        folders = [Path(data_dir)]
    else:
        folders = [Path(folder) for folder in data_dir]
    if not folders:
        raise UserError("data_dir is an empty list: name at least one folder")
    parts = [_read_folder(folder, on_error) for folder in folders]
    return _joined(name, folders, parts, on_error)


def _instructions(
    name: str, data_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None, on_error: OnError
) -> Dataset:
    """Instructions, generated in memory or from a file in Alpaca's format."""
    places = [data_dir] if isinstance(data_dir, (str, os.PathLike)) else list(data_dir or ())
    if name == "demo-instructions":
        if places:
            raise UserError("demo-instructions are generated: leave --data-dir out, or read yours with alpaca")
        from mmadapter.instructions.demo import demo_instructions

        return demo_instructions()
    from mmadapter.instructions.alpaca import FILE, read_alpaca

    if len(places) != 1:
        raise UserError(f"alpaca is one JSON file: name it, or the folder of {FILE}, with --data-dir")
    return read_alpaca(Path(places[0]), on_error=on_error)


def _read_folder(folder: Path, on_error: OnError) -> Dataset:
    folder = folder.expanduser()
    if (folder / "problems.json").exists():
        return read_layout(folder, on_error=on_error)
    from mmadapter.scienceqa.parquet import parquet_files, read_parquet  # pyarrow takes a while

    if parquet_files(folder):
        return read_parquet(folder, on_error=on_error)
    found = "no problems.json and no train, validation or test *.parquet" if folder.is_dir() else "no such folder"
    raise UserError(
        f"no ScienceQA problems at {folder}: {found}\n"
        "  --data-dir must name the folder that holds problems.json and pid_splits.json, or the hub's tables"
    )


def _joined(name: str, folders: list[Path], parts: list[Dataset], on_error: OnError) -> Dataset:
    """Join several folders; a pid that two of them put into different splits is broken."""
    broken = BrokenProblems(on_error)
    problems: dict[str, Problem] = {}
    origin: dict[str, Path] = {}
    contradicted: set[str] = set()
    for folder, part in zip(folders, parts, strict=True):
        for pid, problem in part.problems.items():
            first = problems.setdefault(pid, problem)
            origin.setdefault(pid, folder)
            with broken.caught(pid):
                if first.split != problem.split:
                    contradicted.add(pid)
                    raise BrokenProblem(
                        f"{folder}: pid {pid}: split",
                        f"is {problem.split} here, but {first.split} in {origin[pid]}",
                    )
    problems = {pid: problem for pid, problem in problems.items() if pid not in contradicted}
    names = dict.fromkeys(split for part in parts for split in part.splits)
    splits = {
        split: tuple(dict.fromkeys(pid for part in parts for pid in part.splits.get(split, ()) if pid in problems))
        for split in names
    }
    skipped = [replace(s, splits=()) if s.pid in problems else s for part in parts for s in part.skipped]
    return Dataset(name, problems, splits, (*skipped, *broken.skipped))


def _hub_folder() -> Path:
    from mmadapter.scienceqa.hub import download_scienceqa

    return download_scienceqa()


def _demo_folder() -> Path:
    """The generated demo, written on first use and never touched afterwards: others may be reading it."""
    folder = cache_dir() / DEMO_FOLDER
    if not folder.exists():
        from mmadapter.demo import write_demo

        with sole_writer(folder.parent, wait=lambda told: None), write_errors(folder):
            for unfinished in folder.parent.glob(f".{DEMO_FOLDER}-*"):  # of a killed process
                shutil.rmtree(unfinished)
            if not folder.exists():  # or another process has made it meanwhile
                write_demo(folder, seed=0)
    return folder
