"""What is to be scored: runs of ours and files of anybody's, over one split of one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.predictions import (
    Predictions,
    load_run_predictions,
    read_predictions,
    run_settings,
    stored_predictions,
)
from mmadapter.scienceqa.load import load_dataset
from mmadapter.scienceqa.problems import Dataset


@dataclass(frozen=True)
class Scored:
    """Systems, and the questions that all of them answer."""

    title: str
    """Data set and split."""
    data: Dataset
    """The split."""
    questions: pd.DataFrame
    """Its `question_frame`."""
    systems: tuple[Predictions, ...]


def collect(
    runs: Sequence[Path],
    files: Sequence[Path],
    *,
    dataset: str | None = None,
    data_dir: Sequence[Path] | None = None,
    split: str | None = None,
    rule: str | None = None,
) -> Scored:
    """Reads the questions once, then every system's answers to them.

    Args:
        runs: run directories, each with its variants.
        files: predictions, see `predictions.read_predictions`.
        dataset, data_dir, split: left out: those of the runs; without a run the split is test.
        rule: reads every text anew.

    Raises:
        UserError: nothing is named; the runs are of different questions; an unknown split; predictions that
            are missing or do not fit.
    """
    if not runs and not files:
        raise UserError("nothing to evaluate: name a run directory, or a file with --predictions")
    settings = {run: run_settings(run) for run in runs}
    dataset = dataset or _common(settings, "dataset")
    if dataset is None:
        raise UserError("whose questions are these predictions for? name them with --dataset (and --data-dir)")
    if data_dir is None:
        data_dir = _common({run: of for run, of in settings.items() if of["dataset"] == dataset}, "data_dir")
    split = split or _common(settings, "split") or "test"
    limit, on_error = _common(settings, "limit"), _common(settings, "on_error") or "stop"
    data = load_dataset(dataset, data_dir or None, on_error=on_error)[split].first(limit)
    title = f"{dataset} {split}" + (f", first {limit}" if limit else "")
    if on_error == "skip":
        whole, data = data, _without_skipped(data, runs[0], split)
        title += f", {len(whole) - len(data)} skipped" if len(whole) > len(data) else ""
    questions = question_frame(data)
    found = [(run, predictions) for run in runs for predictions in _of_run(run, split, questions, rule)]
    found += [(file, read_predictions(file, questions, rule=rule)) for file in files]
    return Scored(title, data, questions, tuple(_distinct(found)))


def _without_skipped(data: Dataset, run: Path, split: str) -> Dataset:
    """A run that was told to skip has no answer to a question whose picture is broken."""
    stored = [file for file in stored_predictions(run, split).values() if file.is_file()]
    answered = set(pd.read_parquet(stored[0], columns=["pid"])["pid"]) if stored else set(data.problems)
    return data.only(answered)


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


def _of_run(run: Path, split: str, questions: pd.DataFrame, rule: str | None) -> list[Predictions]:
    found = load_run_predictions(run, split, questions, rule=rule)
    if missing := [variant for variant, predictions in found.items() if predictions is None]:
        raise UserError(f"{run}: no predictions of {split} are stored for {' and '.join(missing)}")
    return list(found.values())


def _distinct(found: Sequence[tuple[Path, Predictions]]) -> list[Predictions]:
    """Names that tell the systems apart: where two are equal, that of the run or folder stands before them."""
    times = Counter(predictions.name for _, predictions in found)

    def folder(place: Path) -> str:
        return (place if place.is_dir() else place.resolve().parent).name

    return [
        replace(predictions, name=f"{folder(place)}/{predictions.name}") if times[predictions.name] > 1 else predictions
        for place, predictions in found
    ]
