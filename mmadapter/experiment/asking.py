"""Asks the models of finished runs what they were not asked yet; the answers are stored in the run.

What is stored is read from there: nothing is asked twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from mmadapter.backbone.threads import chosen_threads
from mmadapter.config.settings import Scoring
from mmadapter.controls.asking import control_answers
from mmadapter.errors import UserError
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import LIKELIHOOD, Predictions
from mmadapter.evaluation.reliance import Controls
from mmadapter.experiment import reload
from mmadapter.inference.image_features import question_images
from mmadapter.inference.predict import predict
from mmadapter.runs.collect import answered_pids, asked_questions, unanswered
from mmadapter.runs.folder import RunFolder, StoredAnswers
from mmadapter.runs.records import counted_controls
from mmadapter.scienceqa.problems import Dataset
from mmadapter.scienceqa.records import OnError
from mmadapter.scienceqa.resplit import Resplitting
from mmadapter.storage.files import write_whole
from mmadapter.storage.locks import sole_writer
from mmadapter.storage.processes import is_first


def ask_missing(
    runs: Sequence[Path],
    *,
    dataset: str | None = None,
    data_dir: Sequence[Path] | None = None,
    split: str | None = None,
    resplit: Resplitting | None = None,
    scoring: Scoring | None = None,
    quiet: bool = False,
) -> None:
    """Has every variant of the runs answer what it was not asked yet.

    Args:
        runs, dataset, data_dir, split, resplit, scoring: as for `runs.collect.collect`.

    Raises:
        UserError: the runs are of different questions; another data set than a run's own, for which it keeps no
            answers; a model that cannot be loaded; a broken image.
    """
    asked = asked_questions(runs, dataset, data_dir, split, resplit)
    for run, own in unanswered(runs, split=split, scoring=scoring).items():
        config = RunFolder(run).config
        if config.dataset != asked.data.name:
            raise UserError(f"{run}: keeps answers to {config.dataset} alone, and has none to {asked.data.name}")
        data = asked.data
        for each in own:
            if not each.predictions.is_file():
                store_predictions(each, data, scoring=scoring or config.scoring, on_error=asked.on_error, quiet=quiet)
            if asked.on_error == "skip":
                data = data.only(answered_pids(each.predictions))


def ask_controls(
    system: Predictions, stored: StoredAnswers, questions: pd.DataFrame, data: Dataset, *, quiet: bool = False
) -> Controls:
    """Has a variant's model answer under every condition, and counts what it answered.

    Args:
        system: its answers as the table has them, perhaps read by another rule than its own.
        stored: where they lie.
        questions, data: what they answer, as a frame and as the problems.

    Raises:
        UserError: the model cannot be loaded, or cannot be asked.
    """
    answers = read_predictions(stored.predictions, questions).frame
    stored.controls_summary.unlink(missing_ok=True)
    scoring: Scoring = "likelihood" if system.rule == LIKELIHOOD else "generate"
    records = store_controls(stored, data, answers, scoring=scoring, quiet=quiet)
    return counted_controls(system, stored, questions, records)


def store_predictions(
    stored: StoredAnswers, data: Dataset, *, scoring: Scoring, on_error: OnError, quiet: bool
) -> None:
    """Has a variant's model answer the questions.

    Args:
        on_error: whether a broken image stops it, or its question is left out.

    Raises:
        UserError: as `load_variant`; a broken image, or a question too long for the model.
    """
    variant = stored.variant
    with sole_writer(variant.run.path) if is_first() else nullcontext():
        model = reload.load_variant(variant.path)
        images = None
        if model.tower is not None:
            images, data = question_images(model.tower, data, model.form, on_error=on_error, quiet=quiet)
        with chosen_threads(model.llm.model, quiet=quiet):
            predict(
                model,
                data,
                scoring=scoring,
                images=images,
                file=stored.predictions,
                store_activations=variant.config.store_activations,
                title=f"answering, {variant.name}",
                quiet=quiet,
            )


def store_controls(
    stored: StoredAnswers, data: Dataset, answers: pd.DataFrame, *, scoring: Scoring, quiet: bool
) -> pd.DataFrame:
    """Asks a variant's model under every condition; returns the records.

    An interrupted call goes on after the last batch that it finished.

    Args:
        answers: its predictions of `data` with the same scoring.

    Raises:
        UserError: as `load_variant` and `control_answers`.
    """
    variant = stored.variant
    with sole_writer(variant.run.path) if is_first() else nullcontext():
        model = reload.load_variant(variant.path)
        with chosen_threads(model.llm.model, quiet=quiet):
            records = control_answers(
                model,
                data,
                answers,
                scoring=scoring,
                folder=stored.unfinished_controls,
                store_activations=variant.config.store_activations,
                quiet=quiet,
            )
        if is_first():
            write_whole(stored.controls, records.to_parquet)
            shutil.rmtree(stored.unfinished_controls, ignore_errors=True)
    return records
