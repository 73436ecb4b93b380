"""What is to be scored: runs of ours and files of anybody's, over one split of one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmadapter.config import Scoring
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.predictions import (
    Predictions,
    load_run_predictions,
    read_predictions,
    read_table,
    run_settings,
    stored_predictions,
)
from mmadapter.scienceqa.load import load_dataset
from mmadapter.scienceqa.problems import Dataset, Skipped
from mmadapter.scienceqa.records import OnError


@dataclass(frozen=True)
class Scored:
    """Systems, and the questions that all of them answer."""

    title: str
    """Data set and split."""
    data: Dataset
    """The split, without the problems that were skipped, which it names."""
    questions: pd.DataFrame
    """Its `question_frame`."""
    systems: tuple[Predictions, ...]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A split, as the runs and the user name it."""

    title: str
    data: Dataset
    split: str
    on_error: OnError


def complete(
    runs: Sequence[Path],
    *,
    dataset: str | None = None,
    data_dir: Sequence[Path] | None = None,
    split: str | None = None,
    scoring: Scoring | None = None,
    quiet: bool = False,
) -> None:
    """Has every variant of the runs answer what it was not asked yet; the answers are stored in the run.

    Args:
        runs, dataset, data_dir, split, scoring: as for `collect`.

    Raises:
        UserError: the runs are of different questions; another data set than a run's own, for which it keeps no
            answers; a model that cannot be loaded; a broken image.
    """
    split = split or _common({run: run_settings(run) for run in runs}, "split")
    stored = {run: stored_predictions(run, split, scoring) for run in runs}
    missing = {run: files for run, files in stored.items() if not all(file.is_file() for file in files.values())}
    if not missing:
        return
    from mmadapter.evaluation.rerun import store_predictions  # torch takes seconds

    asked = _asked(runs, dataset, data_dir, split)
    for run, files in missing.items():
        settings = run_settings(run)
        if settings["dataset"] != asked.data.name:
            raise UserError(f"{run}: keeps answers to {settings['dataset']} alone, and has none to {asked.data.name}")
        data = asked.data
        for file in files.values():
            if not file.is_file():
                store_predictions(
                    file,
                    data,
                    scoring=scoring or settings["scoring"],
                    on_error=asked.on_error,
                    quiet=quiet,
                )
            if asked.on_error == "skip":
                data = data.only(_answered(file))


def collect(
    runs: Sequence[Path],
    files: Sequence[Path],
    *,
    dataset: str | None = None,
    data_dir: Sequence[Path] | None = None,
    split: str | None = None,
    scoring: Scoring | None = None,
    rule: str | None = None,
) -> Scored:
    """Reads the questions once, then every system's answers to them.

    Args:
        runs: run directories, each with its variants.
        files: predictions, see `predictions.read_predictions`.
        dataset, data_dir, split: left out: those of the runs; without a run the split is test.
        scoring: of the runs' answers, likelihood or generate; each run's own if left out.
        rule: reads every text anew.

    Raises:
        UserError: nothing is named; the runs are of different questions; an unknown split; predictions that
            are missing or do not fit.
    """
    if not runs and not files:
        raise UserError("nothing to evaluate: name a run directory, or a file with --predictions")
    asked = _asked(runs, dataset, data_dir, split)
    title, data = asked.title, asked.data
    if asked.on_error == "skip":
        data = _without_skipped(data, runs[0], asked.split, scoring)
        title += f", {len(data.skipped)} skipped" if data.skipped else ""
    questions = question_frame(data)
    found = [(run, predictions) for run in runs for predictions in _of_run(run, asked.split, questions, scoring, rule)]
    found += [(file, read_predictions(file, questions, rule=rule)) for file in files]
    return Scored(title, data, questions, tuple(_distinct(found)))


def _asked(runs: Sequence[Path], dataset: str | None, data_dir: Sequence[Path] | None, split: str | None) -> _Asked:
    settings = {run: run_settings(run) for run in runs}
    dataset = dataset or _common(settings, "dataset")
    if dataset is None:
        raise UserError("whose questions are these predictions for? name them with --dataset (and --data-dir)")
    if data_dir is None:
        data_dir = _common({run: of for run, of in settings.items() if of["dataset"] == dataset}, "data_dir")
    split = split or _common(settings, "split") or "test"
    limit = _common(settings, "limit")
    on_error: OnError = _common(settings, "on_error") or "stop"
    data = load_dataset(dataset, data_dir or None, on_error=on_error)[split].first(limit)
    title = f"{dataset} {split}" + (f", first {limit}" if limit else "")
    return _Asked(title=title, data=data, split=split, on_error=on_error)


def _without_skipped(data: Dataset, run: Path, split: str, scoring: str | None) -> Dataset:
    """A run that was told to skip has no answer to a question whose picture is broken: it joins those skipped."""
    stored = [file for file in stored_predictions(run, split, scoring).values() if file.is_file()]
    if not stored:
        return data
    kept = data.only(_answered(stored[0]))
    lost = [
        Skipped(f"pid {pid}: image", "had no answer", pid, (split,))
        for pid in data.problems
        if pid not in kept.problems
    ]
    return replace(kept, skipped=(*data.skipped, *lost))


def _answered(file: Path) -> set[str]:
    """The pids in stored predictions."""
    pids = read_table(file, ["pid"])
    if "pid" not in pids:
        raise UserError(f"{file}: no column pid")
    return set(pids["pid"])


def _common(settings: Mapping[Path, Mapping[str, object]], key: str) -> Any:
    """What all runs agree on; None without a run.

    Raises:
        UserError: they do not agree.
    """
    values = [of[key] for of in settings.values()]
    if any(value != values[0] for value in values):
        told = ", ".join(f"{value} in {run}" for run, value in zip(settings, values, strict=True))
        raise UserError(f"one table is over the same questions, but {key} is {told}")
    return values[0] if values else None


def _of_run(run: Path, split: str, questions: pd.DataFrame, scoring: str | None, rule: str | None) -> list[Predictions]:
    found = load_run_predictions(run, split, questions, scoring=scoring, rule=rule)
    there = [predictions for predictions in found.values() if predictions is not None]
    if missing := [variant for variant, predictions in found.items() if predictions is None]:
        how = f" by {scoring}" if scoring else ""
        raise UserError(f"{run}: no predictions of {split}{how} are stored for {' and '.join(missing)}")
    return there


def _distinct(found: Sequence[tuple[Path, Predictions]]) -> list[Predictions]:
    """Names that tell the systems apart: where two are equal, that of the run or folder stands before them."""
    times = Counter(predictions.name for _, predictions in found)

    def folder(place: Path) -> str:
        return (place if place.is_dir() else place.resolve().parent).name

    return [
        replace(predictions, name=f"{folder(place)}/{predictions.name}") if times[predictions.name] > 1 else predictions
        for place, predictions in found
    ]
