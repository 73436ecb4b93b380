"""The runs of a study: trained where they are missing, several at a time, and read into one record.

RUNS/NAME-HASH-seedN/ is an ordinary run directory of one variant. A run is known by its settings, not by its name:
any run directory in RUNS that was trained with an arm's settings serves that arm, wherever it came from.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, fields, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pandas as pd

from eval.results import Questions, Run
from eval.study import Exhibit, Study
from mmadapter.config.settings import RunConfig
from mmadapter.data import load_dataset
from mmadapter.evaluation.accuracy import question_classes
from mmadapter.evaluation.frame import answer_frame, question_frame
from mmadapter.evaluation.reliance import CONDITIONS
from mmadapter.runs.folder import RunFolder, VariantFolder
from mmadapter.runs.records import stored_controls
from mmadapter.storage.locks import sole_writer

PLACES = frozenset(
    {"preset", "data_dir", "output_dir", "resume", "device", "compile", "store_activations", "tensorboard", "on_error"}
)
"""Settings that say where and how fast a run is, not what it is."""
SPLITS = ("val", "test")
TOPIC_QUESTIONS = 20
"""A topic with fewer test questions is not shown by itself."""
WORDINGS = "IMG, asked in training: "
OFTEN = 10
"""More training problems than these that ask the same words are many."""


def run_key(config: RunConfig) -> str:
    """Hash of all settings that are not their defaults: a setting that is new tomorrow changes no key of today."""
    defaults = asdict(RunConfig())
    own = {name: value for name, value in asdict(config).items() if name not in PLACES and value != defaults[name]}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]


def run_name(config: RunConfig, study: Study) -> str:
    """A folder's name that tells a reader what is in it."""
    told = [
        f"{field.name}={getattr(config, field.name)}"
        for field in fields(RunConfig)
        if field.name not in PLACES | {"variant", "seed"}
        and getattr(config, field.name) != getattr(study.base, field.name)
    ]
    return "-".join([config.variant, *told, run_key(config), f"seed{config.seed}"])


def wanted(study: Study, recipes: Iterable[Exhibit]) -> list[RunConfig]:
    """Every run once, all recipes' first seeds before any second one: whatever is stopped early is balanced."""
    found: dict[str, RunConfig] = {}
    listed = list(recipes)
    for seed in study.seeds:
        for recipe in listed:
            for arm in recipe.arms(study):
                config = arm.config(study, seed)
                found.setdefault(run_key(config), config)
    return list(found.values())


def finished(folder: Path) -> dict[str, VariantFolder]:
    """By key each finished variant of the runs in `folder`: those that answered val and test."""
    runs = [RunFolder(path) for path in sorted(folder.glob("*")) if RunFolder(path).config_file.is_file()]
    return {
        run_key(variant.config): variant
        for run in runs
        for variant in run.variants
        if variant.metrics.is_file() and all(variant.answers(split).predictions.is_file() for split in SPLITS)
    }


def train_missing(study: Study, recipes: Iterable[Exhibit], folder: Path, jobs: int, *, quiet: bool = False) -> None:
    """Trains and tests, `jobs` at a time, every run that `folder` has not; one that was stopped goes on.

    Raises:
        UserError: of a run; those under way are stopped, and nothing finished is lost.
    """
    have = finished(folder)
    missing = [config for config in wanted(study, recipes) if run_key(config) not in have]
    if not missing:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // jobs))  # one thread a run is faster than two for one
    started = time.monotonic()
    with (
        sole_writer(folder),
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
    ):
        tasks = {pool.submit(_train, config, folder / run_name(config, study)): config for config in missing}
        try:
            for done, task in enumerate(as_completed(tasks), start=1):
                task.result()
                left = (time.monotonic() - started) / done * (len(tasks) - done) / 60
                if not quiet:
                    name = run_name(tasks[task], study)
                    print(f"{done} of {len(tasks)} runs, {left:.0f} minutes left: {name}", file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()  # each writes its checkpoint first
            raise


def _train(config: RunConfig, folder: Path) -> None:
    """In a process of its own."""
    from mmadapter.experiment.asking import ask_missing
    from mmadapter.experiment.run import run_experiment

    begun = RunFolder(folder).config_file.exists()
    run_experiment(replace(config, output_dir=folder), resume=begun, quiet=True)
    for split in SPLITS:
        ask_missing([folder], split=split, quiet=True)


def read_questions(study: Study) -> dict[str, Questions]:
    """Of each split: how many there are, and which class each is in."""
    frames = _frames(study, "train", *SPLITS)
    return {split: _questions(frames[split], frames["train"]) for split in SPLITS}


def _frames(study: Study, *splits: str) -> dict[str, pd.DataFrame]:
    data = load_dataset(study.base.dataset, study.base.data_dir or None).first(study.base.limit)
    return {split: question_frame(data[split]) for split in splits}


def _questions(frame: pd.DataFrame, train: pd.DataFrame) -> Questions:
    classes = {name: mask for name, mask in question_classes(frame).items() if not mask.isna().any()}
    classes |= wordings(frame, train)
    counts = frame["topic"].value_counts()
    for topic in sorted(counts.index[counts >= TOPIC_QUESTIONS]):
        classes[f"topic: {topic}"] = frame["topic"] == topic
    return Questions(len(frame), {name: _bits(mask.fillna(False)) for name, mask in classes.items()})


def wordings(frame: pd.DataFrame, train: pd.DataFrame) -> dict[str, pd.Series]:
    """Questions with an image, by how often the same words are asked in the training split, of whatever picture."""
    times = frame["question"].map(train["question"].value_counts()).fillna(0)
    bands = {"never": times == 0, f"1 to {OFTEN} times": times.between(1, OFTEN), "more often": times > OFTEN}
    return {f"{WORDINGS}{name}": frame["has_image"] & band for name, band in bands.items()}


def read_runs(study: Study, recipes: Iterable[Exhibit], folder: Path) -> Iterator[tuple[str, Run]]:
    """By key the record of every wanted run that is finished."""
    frames, have = _frames(study, *SPLITS), finished(folder)
    for config in wanted(study, recipes):
        variant = have.get(run_key(config))
        if variant is not None:
            yield run_key(config), _read(config, variant, frames)


def _read(config: RunConfig, variant: VariantFolder, frames: dict[str, pd.DataFrame]) -> Run:
    metrics = json.loads(variant.metrics.read_text(encoding="utf-8"))
    return Run(
        settings=told_settings(config),
        seed=config.seed,
        trained=metrics["trainable_parameters"],
        epochs=metrics["epochs"],
        seconds=_seconds(variant.log),
        correct=_correct(variant, frames),
        controls=_controls(variant, frames["test"]),
        generated=_correct(variant, frames, "generate"),
    )


def _correct(variant: VariantFolder, frames: dict[str, pd.DataFrame], scoring: str | None = None) -> dict[str, str]:
    """Of each split that a variant was asked in this way; None is its run's own."""
    found = {}
    for split, questions in frames.items():
        file = variant.answers(split, scoring).predictions
        if file.is_file():
            found[split] = _bits(answer_frame(pd.read_parquet(file), questions, str(variant.path))["correct"])
    return found


def _controls(variant: VariantFolder, questions: pd.DataFrame) -> dict[str, str]:
    """Of each condition of the image in which `mmadapter-eval --controls` asked the model."""
    answers = variant.answers("test")
    records = stored_controls(answers.controls, pd.read_parquet(answers.predictions))
    if records is None:
        return {}
    asked = {name: records[records["condition"] == name].set_index("pid")["prediction"] for name in CONDITIONS}
    return {
        name: _bits((given.reindex(questions.index) == questions["answer"]).fillna(False))
        for name, given in asked.items()
        if len(given)
    }


def told_settings(config: RunConfig) -> dict[str, Any]:
    """Every setting that says what a run is."""
    return {name: value for name, value in asdict(config).items() if name not in PLACES}


def _seconds(log: Path) -> float:
    """Of training, over all resumptions: the clock of a resumed one starts again."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    clock = [entry["seconds"] for entry in entries if "epoch" in entry]
    return round(sum(now for now, then in zip(clock, [*clock[1:], 0.0], strict=True) if then < now), 1)


def _bits(mask: pd.Series) -> str:
    return "".join("1" if value else "0" for value in mask)
