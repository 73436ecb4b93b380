"""Collects what is to be scored over one split: the answers of our runs, and files of predictions by anyone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mmadapter.config.settings import RunConfig, Scoring
from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.evaluation.frame import question_frame, some
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import AS_FILED, GENERATED_RULE, LIKELIHOOD, Predictions
from mmadapter.runs.folder import RunFolder, StoredAnswers
from mmadapter.scienceqa.problems import Dataset, Skipped
from mmadapter.scienceqa.records import OnError
from mmadapter.scienceqa.resplit import Resplitting, wording_split
from mmadapter.storage.tables import read_table


@dataclass(frozen=True)
class Scored:
    """Systems, and the questions that all of them answer."""

    title: str
    """Data set and split."""
    data: Dataset
    """The split; the problems that were skipped are only listed in its `skipped`."""
    questions: pd.DataFrame
    """Its `question_frame`."""
    systems: tuple[Predictions, ...]
    train: Dataset | None = None
    """The training split, for look-ups in it; None if the data set has none."""
    stored: Mapping[str, StoredAnswers] = field(default_factory=dict)
    """The files of the systems that are variants of a run, by name."""


@dataclass(frozen=True, kw_only=True)
class AskedQuestions:
    """A split, as the runs and the user name it."""

    data: Dataset
    train: Dataset | None
    split: str
    resplit: Resplitting
    limit: int | None
    on_error: OnError


def collect(
    runs: Sequence[Path],
    files: Sequence[Path],
    *,
    dataset: str | None = None,
    data_dir: Sequence[Path] | None = None,
    split: str | None = None,
    scoring: Scoring | Literal["both"] | None = None,
    rule: str | None = None,
    resplit: Resplitting | None = None,
    allow_missing: bool = False,
    sample: int | None = None,
    seed: int = 0,
) -> Scored:
    """Read the questions once, then every system's answers to them.

    Args:
        runs: run directories, each with its variants.
        files: files for `read_predictions`.
        dataset, data_dir, split: those of the runs by default; without a run the split is test.
        scoring: of the runs' answers, likelihood or generate; each run's own by default. With both, every variant is
            two systems, what it chose and what it wrote.
        rule: reads every text anew.
        resplit: how ScienceQA is split; a run keeps its own.
        allow_missing: score the questions that all systems answer, where some answer only a part.
        sample: score so many questions, drawn by `seed`: the same ones for the same pids, in whatever order they come.

    Raises:
        UserError: nothing is named; the runs are over different questions; an unknown split; predictions that
            are missing or do not fit.
    """
    if not runs and not files:
        raise UserError("nothing to evaluate: name a run directory, or a file with --predictions")
    asked = asked_questions(runs, dataset, data_dir, split, resplit)
    data = asked.data
    if asked.on_error == "skip":
        data = _without_skipped(data, RunFolder(runs[0]).answers(asked.split, scorings(scoring)[0]), asked.split)
    title = question_title(data, asked.split, asked.resplit, asked.limit)
    questions = question_frame(data)
    stored = [
        (run, answers)
        for run in runs
        for variant in zip(*(_existing_answers(run, asked.split, one) for one in scorings(scoring)), strict=True)
        for answers in variant
    ]
    systems = _distinct(
        [(run, _by_protocol(read_answers(answers, questions, rule=rule), scoring)) for run, answers in stored]
        + [(file, read_predictions(file, questions, rule=rule, partial=True)) for file in files]
    )
    pids = drawn(questions.index, sample, seed)
    title += f", {len(pids):,} drawn with seed {seed}" if sample is not None else ""
    kept = _answered_by_all(pids, systems, allow_missing=allow_missing)
    title += f", {len(kept):,} of {len(pids):,} questions" if len(kept) < len(pids) else ""
    if len(kept) < len(questions):
        data, questions = data.only(set(kept)), questions.loc[kept]
        systems = tuple(replace(each, frame=each.frame.set_index("pid").loc[kept].reset_index()) for each in systems)
    variants = {system.name: answers for system, (_, answers) in zip(systems, stored, strict=False)}
    return Scored(title, data, questions, systems, asked.train, variants)


def scorings(scoring: Scoring | Literal["both"] | None) -> tuple[Scoring | None, ...]:
    """Return the ways of answering that a setting names; None is a run's own."""
    return ("likelihood", "generate") if scoring == "both" else (scoring,)


def _by_protocol(system: Predictions, scoring: str | None) -> Predictions:
    """Name a system by how it answered, where both ways stand side by side."""
    if scoring != "both":
        return system
    return replace(system, name=f"{system.name}, {'chosen' if system.rule == LIKELIHOOD else 'written'}")


def drawn(pids: pd.Index, sample: int | None, seed: int) -> pd.Index:
    """Return `sample` of the pids, in their order; all of them without a number.

    A pid's place in the draw depends on itself and the seed alone: a larger sample holds the smaller one.

    Raises:
        UserError: the number is not from 1 to the number of questions.
    """
    if sample is None:
        return pids
    if not 1 <= sample <= len(pids):
        raise UserError(f"--sample {sample}: there are {len(pids):,} questions: choose 1 to {len(pids)}")
    place = [hashlib.sha256(f"{seed} {pid}".encode()).digest() for pid in pids]
    chosen = sorted(range(len(pids)), key=place.__getitem__)[:sample]
    return pids[sorted(chosen)]


def _answered_by_all(pids: pd.Index, systems: Sequence[Predictions], *, allow_missing: bool) -> pd.Index:
    """Return the pids that every system answers."""
    kept = pids
    for each in systems:
        missing = pids.difference(each.frame["pid"], sort=False)
        if len(missing) and not allow_missing:
            raise UserError(
                f"{each.source}: {len(missing)} questions have no prediction: {some(missing)}\n"
                "  --allow-missing scores those that all systems answer"
            )
        kept = kept.difference(missing, sort=False)
    if kept.empty:
        raise UserError(f"no question is answered by all systems: {', '.join(each.source for each in systems)}")
    return kept


def unanswered(
    runs: Sequence[Path], *, split: str | None = None, scoring: Scoring | None = None
) -> dict[Path, list[StoredAnswers]]:
    """Return the answers of all variants for each run in which some variant has not answered yet.

    Raises:
        UserError: not a run directory; the runs are over different splits.
    """
    split = split or common_setting({run: RunFolder(run).config for run in runs}, "split")
    answers = {run: RunFolder(run).answers(split, scoring) for run in runs}
    return {run: variants for run, variants in answers.items() if not all(stored.exist for stored in variants)}


def read_answers(stored: StoredAnswers, questions: pd.DataFrame, *, rule: str | None = None) -> Predictions:
    """Read a variant's answers under its name; generated ones were parsed by the rule of its form of answer."""
    read = read_predictions(stored.predictions, questions, rule=rule, name=stored.variant.name)
    model = stored.variant.language_model
    return replace(
        read,
        rule=GENERATED_RULE[stored.variant.config.answer] if read.rule == AS_FILED else read.rule,
        notes=(f"language model: {model}",) if model else (),
    )


def asked_questions(
    runs: Sequence[Path],
    dataset: str | None,
    data_dir: Sequence[Path] | None,
    split: str | None,
    resplit: Resplitting | None = None,
) -> AskedQuestions:
    """Load the questions that the runs and the user name; the arguments are those of `collect`."""
    configs = {run: RunFolder(run).config for run in runs}
    dataset = dataset or common_setting(configs, "dataset")
    if dataset is None:
        raise UserError("whose questions are these predictions for? name them with --dataset (and --data-dir)")
    if data_dir is None:
        data_dir = common_setting({r: config for r, config in configs.items() if config.dataset == dataset}, "data_dir")
    split = split or common_setting(configs, "split") or "test"
    limit = common_setting(configs, "limit")
    on_error: OnError = common_setting(configs, "on_error") or "stop"
    trained = common_setting(configs, "resplit")
    if resplit and trained and resplit != trained:
        raise UserError(
            f"--resplit {resplit}: the run was trained on the {trained} split, which may hold its questions"
        )
    resplit = resplit or trained or "official"
    whole = load_dataset(dataset, data_dir or None, on_error=on_error, resplit=resplit)
    train = whole["train"] if "train" in whole.splits else None
    return AskedQuestions(
        data=whole[split].first(limit), train=train, split=split, resplit=resplit, limit=limit, on_error=on_error
    )


def question_title(asked: Dataset, split: str, resplit: Resplitting, limit: int | None) -> str:
    """Name the questions of a table: data set, split, and what of it was left out.

    Args:
        asked: the questions, those that were skipped in its `skipped`.
        limit: how many of each split a run was told to use.
    """
    title = f"{asked.name} {split}"
    if resplit == "wording":
        missing = 0 if limit else len(wording_split().get(split, ())) - len(asked) - len(asked.skipped)
        title += ", wording-disjoint resplit" + (f", {missing} not at hand" if missing else "")
    title += f", first {limit}" if limit else ""
    return title + (f", {len(asked.skipped)} skipped" if asked.skipped else "")


def _without_skipped(data: Dataset, answers: Sequence[StoredAnswers], split: str) -> Dataset:
    """Move the problems without an answer to `skipped`: the run left them out because their pictures are broken."""
    files = [stored.predictions for stored in answers if stored.exist]
    if not files:
        return data
    kept = data.only(answered_pids(files[0]))
    lost = [pid for pid in data.problems if pid not in kept.problems]
    skipped = (Skipped(f"pid {pid}: image", "had no answer", pid, (split,)) for pid in lost)
    return replace(kept, skipped=(*data.skipped, *skipped))


def answered_pids(file: Path) -> set[str]:
    """Read the pids in stored predictions."""
    pids = read_table(file, ["pid"])
    if "pid" not in pids:
        raise UserError(f"{file}: no column pid")
    return set(pids["pid"])


def common_setting(settings: Mapping[Path, RunConfig], key: str) -> Any:
    """Return the value that all runs share, None without a run.

    Raises:
        UserError: they differ.
    """
    values = {run: getattr(config, key) for run, config in settings.items()}
    first = next(iter(values.values()), None)
    if any(value != first for value in values.values()):
        listed = ", ".join(f"{value} in {run}" for run, value in values.items())
        raise UserError(f"one table is over the same questions, but {key} is {listed}")
    return first


def _existing_answers(run: Path, split: str, scoring: str | None) -> list[StoredAnswers]:
    answers = RunFolder(run).answers(split, scoring)
    if missing := [stored.variant.name for stored in answers if not stored.exist]:
        how = f" by {scoring}" if scoring else ""
        raise UserError(f"{run}: no predictions of {split}{how} are stored for {' and '.join(missing)}")
    return answers


def _distinct(found: Sequence[tuple[Path, Predictions]]) -> tuple[Predictions, ...]:
    """Put the name of the run or folder before the names that occur more than once."""
    times = Counter(predictions.name for _, predictions in found)

    def folder(place: Path) -> str:
        return (place if place.is_dir() else place.resolve().parent).name

    return tuple(
        replace(predictions, name=f"{folder(place)}/{predictions.name}") if times[predictions.name] > 1 else predictions
        for place, predictions in found
    )
