"""Ask a model again under other conditions.

A condition is an ordinary data set: the same questions with one thing changed (`interventions`).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmadapter.config.settings import InputFormat, Scoring
from mmadapter.controls.interventions import White, rotated, shuffled, turned_back, with_images
from mmadapter.evaluation.reliance import LABELS, ROTATION
from mmadapter.inference.image_features import image_of
from mmadapter.inference.predict import predict
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset


def control_answers(
    model: MultimodalAdapter,
    data: Dataset,
    answers: pd.DataFrame,
    *,
    scoring: Scoring = "likelihood",
    seed: int = 0,
    folder: Path | None = None,
    store_activations: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Ask a model under every condition.

    Questions with an image are asked four times, also with the true image, in the same batches each time: rounding
    depends on the batch. Every question is asked once for each further rotation of its options.

    Args:
        answers: the model's predictions of `data` as it stands, with the same scoring: rotation 0.
        seed: seed of the shuffled images.
        folder: keeps the answers under each condition, so that an interrupted call goes on.
        store_activations: as in `predict`; used for the image conditions, whose words are the same.

    Returns:
        One row an answer: `condition` (one of `CONDITIONS`, or `rotation N`), `pid`, `prediction` and `probabilities`,
        both in the question's own order of options.

    Raises:
        UserError: a broken image, or so many questions with the same image that they cannot get another.
    """
    turns = {ROTATION.format(turn): turn for turn in range(1, max((len(p.choices) for p in data), default=0))}
    changed = _image_conditions(data, model.form, seed) | {name: rotated(data, turn) for name, turn in turns.items()}
    records = [_records(ROTATION.format(0), answers)]
    for condition, asked in changed.items():
        file = folder / f"{condition}.parquet" if folder is not None else None
        title = LABELS.get(condition, f"options, {condition}")
        store = store_activations and condition not in turns
        found = predict(model, asked, scoring=scoring, file=file, store_activations=store, title=title, quiet=quiet)
        records.append(_records(condition, turned_back(found, asked, turns.get(condition, 0))))
    return pd.concat(records, ignore_index=True)


def _image_conditions(data: Dataset, form: InputFormat, seed: int) -> dict[str, Dataset]:
    """The questions with an image under each of `CONDITIONS`; empty if there are none."""
    images = {p.pid: image for p in data if (image := image_of(p, form.choice_images)) is not None}
    if not images:
        return {}
    seen, others = data.only(images), shuffled(images, seed)
    return {
        "true": with_images(seen, lambda problem: images[problem.pid]),
        "blank": with_images(seen, lambda problem: White()),
        "shuffled": with_images(seen, lambda problem: others[problem.pid]),
        "none": with_images(seen, lambda problem: None),
    }


def _records(condition: str, answers: pd.DataFrame) -> pd.DataFrame:
    frame = answers[["pid", "prediction", "probabilities"]].reset_index(drop=True)
    frame.insert(0, "condition", pd.array([condition] * len(frame), dtype="string"))
    return frame
