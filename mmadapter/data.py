"""The one way to every data set: from a name, and folders of your own, to typed problems."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.layout import read_layout
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import BrokenProblem, BrokenProblems, OnError
from mmadapter.scienceqa.resplit import Resplitting
from mmadapter.scienceqa.resplit import resplit as wording_resplit
from mmadapter.storage.files import write_errors
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.paths import assets_dir, cache_dir

DATASETS = ("demo", "scienceqa", "demo-instructions", "alpaca")
DEMO_FOLDER = "demo-seed0-v2"
"""In the cache folder; the version counts changes of the data."""


def load_dataset(
    name: str,
    data_dir: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    on_error: OnError = "stop",
    resplit: Resplitting = "official",
) -> Dataset:
    """Load the typed problems of a data set and its splits; pictures are read only when they are needed.

    Args:
        name: "scienceqa"; "demo", a small ScienceQA that the package ships; "alpaca"; or "demo-instructions", a
            small set of instructions that it ships.
        data_dir: one folder or several, each in the original layout (`layout`) or the hub's (`parquet`). A problem
            comes from the first folder that has its pid; lists of the same split are joined in the folders' order.
            Without it ScienceQA comes from the hub. For "alpaca", the JSON file or the
            folder that holds `alpaca_data.json`.
        on_error: "stop" at a broken problem, or "skip" it and count it in `skipped`.
        resplit: "wording" deals ScienceQA out anew, so that no wording of val and test occurs in train
            (`scienceqa.resplit`); only train, val and test remain.

    Raises:
        UserError: no such data set, nothing to read, a broken file or problem.
    """
    if name not in DATASETS:
        raise UserError(f"no data set {name!r}: choose {' or '.join(DATASETS)}")
    if resplit != "official" and name != "scienceqa":
        raise UserError(f"--resplit {resplit}: is a split of scienceqa, not of {name}")
    if isinstance(data_dir, (str, os.PathLike)):
        data_dir = [data_dir]
    folders = None if data_dir is None else [Path(folder).expanduser() for folder in data_dir]
    if name == "demo-instructions":
        from mmadapter.instructions.demo import demo_instructions

        if folders:
            raise UserError("demo-instructions are embedded: leave --data-dir out, or read yours with alpaca")
        return demo_instructions()
    if name == "alpaca":
        from mmadapter.instructions.alpaca import FILE, read_alpaca

        if not folders or len(folders) != 1:
            raise UserError(f"alpaca is one JSON file: name it, or the folder of {FILE}, with --data-dir")
        return read_alpaca(folders[0], on_error=on_error)
    if folders is None and name == "demo":
        folders = [_demo_folder()]
    elif folders is None:
        from mmadapter.scienceqa.download import download_scienceqa

        folders = [download_scienceqa()]
    if not folders:
        raise UserError("data_dir is an empty list: name at least one folder")
    data = _joined(name, folders, [_read_folder(folder, on_error) for folder in folders], on_error)
    return data if resplit == "official" else wording_resplit(data).data


def _read_folder(folder: Path, on_error: OnError) -> Dataset:
    if (folder / "problems.json").exists():
        return read_layout(folder, on_error=on_error)
    from mmadapter.scienceqa.parquet import parquet_files, read_parquet  # importing pyarrow takes a while

    if parquet_files(folder):
        return read_parquet(folder, on_error=on_error)
    found = "no problems.json and no train, validation or test *.parquet" if folder.is_dir() else "no such folder"
    raise UserError(
        f"no ScienceQA problems at {folder}: {found}\n"
        "  --data-dir must name the folder that holds problems.json and pid_splits.json, or the hub's tables"
    )


def _joined(name: str, folders: list[Path], parts: list[Dataset], on_error: OnError) -> Dataset:
    """Join the data sets of several folders; a pid that two folders put into different splits is broken."""
    broken = BrokenProblems(on_error)
    first: dict[str, tuple[Problem, Path]] = {}
    contradicted: set[str] = set()
    for folder, part in zip(folders, parts, strict=True):
        for pid, problem in part.problems.items():
            kept, kept_from = first.setdefault(pid, (problem, folder))
            with broken.caught(pid):
                if kept.split != problem.split:
                    contradicted.add(pid)
                    reason = f"is {problem.split} here, but {kept.split} in {kept_from}"
                    raise BrokenProblem(f"{folder}: pid {pid}: split", reason)
    problems = {pid: problem for pid, (problem, _) in first.items() if pid not in contradicted}
    splits = {
        split: tuple(dict.fromkeys(pid for part in parts for pid in part.splits.get(split, ()) if pid in problems))
        for split in dict.fromkeys(split for part in parts for split in part.splits)
    }
    skipped = [replace(s, splits=()) if s.pid in problems else s for part in parts for s in part.skipped]
    return Dataset(name, problems, splits, (*skipped, *broken.skipped))


def _demo_folder() -> Path:
    """Return the folder of the demo, unpacked on first use and never changed: other processes may be reading it."""
    folder = cache_dir() / DEMO_FOLDER
    if not folder.exists():
        with sole_writer(folder.parent, wait=lambda holder: None), write_errors(folder):
            for unfinished in folder.parent.glob(f".{DEMO_FOLDER}-*"):  # left by a killed process
                shutil.rmtree(unfinished)
            if not folder.exists():  # another process may have made it meanwhile
                unpack_demo(folder)
    return folder


def unpack_demo(folder: Path) -> None:
    """Unpack the embedded demo, in the original layout; `folder` appears when it is complete."""
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    with zipfile.ZipFile(assets_dir() / "demo.zip") as archive:
        archive.extractall(unfinished)
    unfinished.chmod(0o755)  # mkdtemp's are private
    unfinished.rename(folder)
