"""The runs of a study: missing ones are trained, several at a time, and all are read into one record.

RUNS/NAME-HASH-seedN/ is an ordinary run folder of one variant. A run is identified by its settings, not by its name:
any run folder in RUNS with an arm's settings serves that arm.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
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
from mmadapter.evaluation.wordings import KINDS, cluster_ids
from mmadapter.experiment.features import tower_features
from mmadapter.experiment.lookups import look_up
from mmadapter.runs.folder import RunFolder, VariantFolder
from mmadapter.runs.records import stored_controls
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.keys import content_key
from mmadapter.storage.locks import sole_writer

PLACES = frozenset(
    {"preset", "data_dir", "output_dir", "device", "compile", "store_activations", "track", "threads", "on_error"}
)
"""Settings for where and how fast a run is, which do not change its result."""
SPLITS = ("val", "test")
TOPIC_QUESTIONS = 20
"""Least number of test questions for a topic's own row."""
WORDINGS = "IMG, asked in training: "
OFTEN = 10
"""Most training problems of a wording that counts as rare."""


def run_key(config: RunConfig) -> str:
    """Return a hash of all settings that differ from their defaults, so a new setting changes no old key."""
    defaults = asdict(RunConfig())
    changed = {name: value for name, value in run_settings(config).items() if value != defaults[name]}
    return content_key(changed)[:8]


def run_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that identify a run."""
    return {name: value for name, value in asdict(config).items() if name not in PLACES}


def run_name(config: RunConfig, study: Study) -> str:
    """Return a folder's name: the variant, the settings that differ from the study's base, the key and the seed."""
    base = run_settings(study.base) | {"variant": config.variant, "seed": config.seed}
    changed = [f"{name}={value}" for name, value in run_settings(config).items() if value != base[name]]
    return "-".join([config.variant, *changed, run_key(config), f"seed{config.seed}"])


def wanted(study: Study, exhibits: Collection[Exhibit]) -> list[RunConfig]:
    """Return every run once; the first seeds of all exhibits come before any second seed."""
    arms = [arm for exhibit in exhibits for arm in exhibit.arms(study)]
    found: dict[str, RunConfig] = {}
    for config in (arm.config(study, seed) for seed in study.seeds for arm in arms):
        found.setdefault(run_key(config), config)
    return list(found.values())


def finished(folder: Path) -> dict[str, VariantFolder]:
    """Return the finished variants in `folder` by key: those with answers to val and test."""
    runs = [RunFolder(path) for path in sorted(folder.glob("*")) if RunFolder(path).config_file.is_file()]
    return {
        run_key(variant.config): variant
        for run in runs
        for variant in run.variants
        if variant.metrics.is_file() and all(variant.answers(split).predictions.is_file() for split in SPLITS)
    }


def train_missing(study: Study, exhibits: Collection[Exhibit], folder: Path, jobs: int, *, quiet: bool = False) -> None:
    """Train and test every run that `folder` lacks, `jobs` at a time, and resume those that were stopped.

    Raises:
        UserError: from a run; the others are stopped, and nothing finished is lost.
    """
    have = finished(folder)
    missing = [config for config in wanted(study, exhibits) if run_key(config) not in have]
    if not missing:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // jobs))  # one thread a run is faster than two for one
    started = time.monotonic()
    with sole_writer(folder), ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
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
    """Train and test one run, in a process of its own."""
    from mmadapter.experiment.asking import ask_missing
    from mmadapter.experiment.run import run_experiment

    begun = RunFolder(folder).config_file.exists()
    run_experiment(replace(config, output_dir=folder), resume=begun, quiet=True)
    for split in SPLITS:
        ask_missing([folder], split=split, quiet=True)
    ask_missing([folder], split="test", scoring="generate", quiet=True)  # the paper's protocol, of every run


def read_questions(study: Study) -> dict[str, Questions]:
    """Return the classes and wordings of each split's questions, and for the test split what look-ups answer."""
    base, data = study.base, _data(study)
    features = tower_features(base.clip, base.scales, data["test"], data["train"], quiet=True)
    credits = look_up(data["test"], data["train"], features).baselines
    known = {name: [round(float(value), 4) for value in credits[name]] for name in credits}
    frames = _frames(study, "train", *SPLITS)
    return {split: _questions(frames[split], frames["train"], known if split == "test" else {}) for split in SPLITS}


def _data(study: Study) -> Dataset:
    base = study.base
    return load_dataset(base.dataset, base.data_dir or None, resplit=base.resplit).first(base.limit)


def _frames(study: Study, *splits: str) -> dict[str, pd.DataFrame]:
    data = _data(study)
    return {split: question_frame(data[split]) for split in splits}


def _questions(frame: pd.DataFrame, train: pd.DataFrame, credits: dict[str, list[float]]) -> Questions:
    classes = {name: mask for name, mask in question_classes(frame).items() if not mask.isna().any()}
    classes |= wordings(frame, train)
    for kind in ("option-length", "option-count"):
        classes |= {f"IMG, {name}": frame["has_image"] & mask for name, mask in KINDS[kind](frame).items()}
    counts = frame["topic"].value_counts()
    for topic in sorted(counts.index[counts >= TOPIC_QUESTIONS]):
        classes[f"topic: {topic}"] = frame["topic"] == topic
    masks = {name: bits(mask.fillna(False)) for name, mask in classes.items() if mask.any()}
    return Questions(len(frame), masks, cluster_ids(frame).tolist(), credits)


def wordings(frame: pd.DataFrame, train: pd.DataFrame) -> dict[str, pd.Series]:
    """Return masks of the questions with an image, by how often training has their wording with any picture."""
    times = frame["question"].map(train["question"].value_counts()).fillna(0)
    bands = {"never": times == 0, f"1 to {OFTEN} times": times.between(1, OFTEN), "more often": times > OFTEN}
    return {f"{WORDINGS}{name}": frame["has_image"] & band for name, band in bands.items()}


def read_runs(study: Study, exhibits: Collection[Exhibit], folder: Path) -> dict[str, Run]:
    """Return the records of all wanted runs that are finished, by key."""
    frames, have = _frames(study, *SPLITS), finished(folder)
    configs = {run_key(config): config for config in wanted(study, exhibits)}
    return {key: _read(config, have[key], frames) for key, config in configs.items() if key in have}


def _read(config: RunConfig, variant: VariantFolder, frames: dict[str, pd.DataFrame]) -> Run:
    metrics = json.loads(variant.metrics.read_text(encoding="utf-8"))
    return Run(
        settings=run_settings(config),
        seed=config.seed,
        trained=metrics["trainable_parameters"],
        epochs=metrics["epochs"],
        seconds=_seconds(variant.log),
        correct=_correct(variant, frames),
        controls=_controls(variant, frames["test"]),
        generated=_correct(variant, frames, "generate"),
    )


def _correct(variant: VariantFolder, frames: dict[str, pd.DataFrame], scoring: str | None = None) -> dict[str, str]:
    """The correct answers to each split by this scoring, or by the run's own."""
    found = {}
    for split, questions in frames.items():
        file = variant.answers(split, scoring).predictions
        if file.is_file():
            found[split] = bits(answer_frame(pd.read_parquet(file), questions, str(variant.path))["correct"])
    return found


def _controls(variant: VariantFolder, questions: pd.DataFrame) -> dict[str, str]:
    """The correct answers under each condition of the image that `mmadapter-eval --controls` recorded."""
    answers = variant.answers("test")
    records = stored_controls(answers.controls, pd.read_parquet(answers.predictions))
    if records is None:
        return {}
    given = {name: records[records["condition"] == name].set_index("pid")["prediction"] for name in CONDITIONS}
    return {
        name: "".join(
            "-" if pid not in predictions.index else str(int(predictions[pid] == answer))
            for pid, answer in questions["answer"].items()
        )
        for name, predictions in given.items()
        if len(predictions)
    }


def _seconds(log: Path) -> float:
    """Seconds of training over all resumptions, each of which restarts the clock."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    clock = [entry["seconds"] for entry in entries if "epoch" in entry]
    return round(sum(now for now, then in zip(clock, [*clock[1:], 0.0], strict=True) if then < now), 1)


def bits(mask: pd.Series) -> str:
    """Return a digit a question: 1 where the mask holds."""
    return "".join("1" if value else "0" for value in mask)
