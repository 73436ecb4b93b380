"""What is to be scored: runs of ours and files of anybody's, over one split of one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import yaml

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.predictions import Predictions, load_run_predictions, read_predictions
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
    split: str = "test",
    rule: str | None = None,
) -> Scored:
    """Reads the questions once, then every system's answers to them.

    Args:
        runs: run directories, each with its variants.
        files: predictions, see `predictions.read_predictions`.
        dataset, data_dir: left out: what the runs were trained on.
        split: of the data set.
        rule: reads every text anew.

    Raises:
        UserError: nothing is named; the runs are of different data; an unknown split; predictions that are
            missing or do not fit.
    """
    if not runs and not files:
        raise UserError("nothing to evaluate: name a run directory, or a file with --predictions")
    name, folders = _data_of(runs, dataset, data_dir)
    data = load_dataset(name, folders)[split]
    questions = question_frame(data)
    found = [(run, predictions) for run in runs for predictions in _of_run(run, split, questions, rule)]
    found += [(file, read_predictions(file, questions, rule=rule)) for file in files]
    return Scored(f"{name} {split}", data, questions, tuple(_distinct(found)))


def _data_of(
    runs: Sequence[Path], dataset: str | None, data_dir: Sequence[Path] | None
) -> tuple[str, list[Path] | None]:
    configured = {run: _run_data(run) for run in runs} if dataset is None or data_dir is None else {}
    if dataset is None:
        names = {name for name, _ in configured.values()}
        if not names:
            raise UserError("whose questions are these predictions for? name them with --dataset (and --data-dir)")
        if len(names) > 1:
            told = ", ".join(f"{run} {name}" for run, (name, _) in configured.items())
            raise UserError(f"one table is over one data set: {told}")
        (dataset,) = names
    if data_dir is None:
        places = {tuple(folders or ()) for name, folders in configured.values() if name == dataset}
        if len(places) > 1:
            raise UserError(f"the runs' {dataset} lies in different folders: name those to use with --data-dir")
        data_dir = [Path(folder) for folder in next(iter(places), ())]
    return dataset, list(data_dir) or None


def _run_data(run: Path) -> tuple[str, list[str] | None]:
    """The data set that a run was trained on."""
    places = [folder / "config.yaml" for folder in (run, run.parent)]  # a variant's folder lies in its run
    for file in places:
        if file.is_file():
            try:
                config = yaml.safe_load(file.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError) as error:
                raise UserError(f"{file}: not readable as YAML: {error}") from error
            if isinstance(config, dict) and "dataset" in config:
                folders = config.get("data_dir")
                return config["dataset"], [folders] if isinstance(folders, str) else folders
    raise UserError(f"{run}: not a run directory: there is no config.yaml in it that names a dataset")


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
