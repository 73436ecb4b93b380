"""Collect the systems to score: runs of ours and files of anybody's, over one split of one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mmadapter.config.settings import RunConfig, Scoring
from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import AS_FILED, GENERATED_RULE, Predictions
from mmadapter.runs.folder import RunFolder, StoredAnswers
from mmadapter.scienceqa.problems import Dataset, Skipped
from mmadapter.scienceqa.records import OnError
from mmadapter.storage.tables import read_table


@dataclass(frozen=True)
class Scored:
    """Systems, and the questions that all of them answered."""

    title: str
    """Data set and split."""
    data: Dataset
    """The split without skipped problems, which it names."""
    questions: pd.DataFrame
    """The split's `question_frame`."""
    systems: tuple[Predictions, ...]
    stored: Mapping[str, StoredAnswers] = field(default_factory=dict)
    """Stored answers by name, for systems that are variants of a run."""


@dataclass(frozen=True, kw_only=True)
class AskedQuestions:
    """A split, as named by the runs and the user."""

    title: str
    data: Dataset
    split: str
    on_error: OnError


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
    """Read the questions once, then every system's answers to them.

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
    asked = asked_questions(runs, dataset, data_dir, split)
    title, data = asked.title, asked.data
    if asked.on_error == "skip":
        data = _without_skipped(data, runs[0], asked.split, scoring)
        title += f", {len(data.skipped)} skipped" if data.skipped else ""
    questions = question_frame(data)
    found: list[tuple[Path, Predictions, StoredAnswers | None]] = [
        (run, read_answers(answers, questions, rule=rule), answers)
        for run in runs
        for answers in _answers_of(run, asked.split, scoring)
    ]
    found += [(file, read_predictions(file, questions, rule=rule), None) for file in files]
    systems = _distinct([(place, system) for place, system, _ in found])
    stored = {system.name: answers for system, (_, _, answers) in zip(systems, found, strict=True) if answers}
    return Scored(title, data, questions, tuple(systems), stored)


def unanswered(
    runs: Sequence[Path], *, split: str | None = None, scoring: Scoring | None = None
) -> dict[Path, list[StoredAnswers]]:
    """Find the runs that have not answered everything yet, with the answers of all their variants.

    Args:
        split, scoring: as for `collect`.

    Raises:
        UserError: not a run directory; the runs are of different splits.
    """
    split = split or common_setting({run: RunFolder(run).config for run in runs}, "split")
    answers = {run: [variant.answers(split, scoring) for variant in RunFolder(run).variants] for run in runs}
    return {run: own for run, own in answers.items() if not all(each.predictions.is_file() for each in own)}


def read_answers(stored: StoredAnswers, questions: pd.DataFrame, *, rule: str | None = None) -> Predictions:
    """Read a variant's stored answers, named after it; texts are read by the rule of its form of answer.

    Raises:
        UserError: as `read_predictions`.
    """
    read = read_predictions(stored.predictions, questions, rule=rule, name=stored.variant.name)
    if read.rule != AS_FILED:
        return read
    return replace(read, rule=GENERATED_RULE[stored.variant.config.answer])


def asked_questions(
    runs: Sequence[Path], dataset: str | None, data_dir: Sequence[Path] | None, split: str | None
) -> AskedQuestions:
    configs = {run: RunFolder(run).config for run in runs}
    dataset = dataset or common_setting(configs, "dataset")
    if dataset is None:
        raise UserError("whose questions are these predictions for? name them with --dataset (and --data-dir)")
    if data_dir is None:
        own = {run: config for run, config in configs.items() if config.dataset == dataset}
        data_dir = common_setting(own, "data_dir")
    split = split or common_setting(configs, "split") or "test"
    limit = common_setting(configs, "limit")
    on_error: OnError = common_setting(configs, "on_error") or "stop"
    data = load_dataset(dataset, data_dir or None, on_error=on_error)[split].first(limit)
    title = f"{dataset} {split}" + (f", first {limit}" if limit else "")
    return AskedQuestions(title=title, data=data, split=split, on_error=on_error)


def _without_skipped(data: Dataset, run: Path, split: str, scoring: str | None) -> Dataset:
    """Skip questions that a run left out because their picture is broken."""
    files = [variant.answers(split, scoring).predictions for variant in RunFolder(run).variants]
    stored = next((file for file in files if file.is_file()), None)
    if stored is None:
        return data
    kept = data.only(answered_pids(stored))
    lost = [
        Skipped(f"pid {pid}: image", "had no answer", pid, (split,))
        for pid in data.problems
        if pid not in kept.problems
    ]
    return replace(kept, skipped=(*data.skipped, *lost))


def answered_pids(file: Path) -> set[str]:
    """The pids in stored predictions."""
    pids = read_table(file, ["pid"])
    if "pid" not in pids:
        raise UserError(f"{file}: no column pid")
    return set(pids["pid"])


def common_setting(settings: Mapping[Path, RunConfig], key: str) -> Any:
    """A setting that all runs share; None without a run.

    Raises:
        UserError: they do not agree.
    """
    values = [getattr(config, key) for config in settings.values()]
    if any(value != values[0] for value in values):
        told = ", ".join(f"{value} in {run}" for run, value in zip(settings, values, strict=True))
        raise UserError(f"one table is over the same questions, but {key} is {told}")
    return values[0] if values else None


def _answers_of(run: Path, split: str, scoring: str | None) -> list[StoredAnswers]:
    """The stored answers of all variants of a run."""
    answers = [variant.answers(split, scoring) for variant in RunFolder(run).variants]
    if missing := [each.variant.name for each in answers if not each.predictions.is_file()]:
        how = f" by {scoring}" if scoring else ""
        raise UserError(f"{run}: no predictions of {split}{how} are stored for {' and '.join(missing)}")
    return answers


def _distinct(found: Sequence[tuple[Path, Predictions]]) -> list[Predictions]:
    """Make names unique: where two are equal, the run's or folder's name goes in front."""
    times = Counter(predictions.name for _, predictions in found)

    def folder(place: Path) -> str:
        return (place if place.is_dir() else place.resolve().parent).name

    return [
        replace(predictions, name=f"{folder(place)}/{predictions.name}") if times[predictions.name] > 1 else predictions
        for place, predictions in found
    ]
