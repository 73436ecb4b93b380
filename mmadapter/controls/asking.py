"""A model's answers under control conditions: another image or none, the options in another order.

A condition is a data set, the same questions with one thing changed: no part of the model knows about it.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mmadapter.config.settings import InputFormat, Scoring
from mmadapter.controls.interventions import White, rotated, shuffled, shuffled_within, turned_back, with_images
from mmadapter.evaluation.reliance import LABELS, ROTATION
from mmadapter.inference.image_features import images_seen
from mmadapter.inference.predict import predict
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset
from mmadapter.scienceqa.wording import wording


def control_answers(
    model: MultimodalAdapter,
    data: Dataset,
    answers: pd.DataFrame,
    *,
    scoring: Scoring = "likelihood",
    folder: Path | None = None,
    store_activations: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Ask a model all questions under every control condition.

    Questions with an image are asked under all image conditions, the true one included, in the same batches: rounding
    depends on the batch, so it changes no answer. Of the condition `within` only the answers with another picture are
    kept. Every question is asked once for each further rotation.

    Args:
        answers: the model's predictions of the unchanged `data` with the same scoring, which are rotation 0.
        folder: keeps the answers under each condition; an interrupted call goes on after the last batch.
        store_activations: as for `predict`, under the image conditions, which leave the tokens unchanged.

    Returns:
        A row an answer: `condition` (of `reliance.CONDITIONS`, or `rotation N`), `pid`, and `prediction` and
        `probabilities` in the question's own order of options.

    Raises:
        UserError: a broken image, or more than half of the questions have the same image.
    """
    turns = {ROTATION.format(turn): turn for turn in range(1, max((len(p.choices) for p in data), default=0))}
    changed = _image_conditions(data, model.form) | {name: rotated(data, turn) for name, turn in turns.items()}
    columns = ["pid", "prediction", "probabilities"]
    found = {ROTATION.format(0): answers[columns]}
    for condition, asked in changed.items():
        file = folder / f"{condition}.parquet" if folder is not None else None
        title = LABELS.get(condition, f"options, {condition}")
        store = store_activations and condition not in turns
        said = predict(model, asked, scoring=scoring, file=file, store_activations=store, title=title, quiet=quiet)
        if condition == "within":
            true = changed["true"].problems
            said = said[[asked.problems[pid].image is not true[pid].image for pid in said["pid"]]]
        found[condition] = turned_back(said, asked, turns.get(condition, 0))[columns]
    records = pd.concat(found, names=["condition"]).reset_index("condition").reset_index(drop=True)
    return records.astype({"condition": "string"})


def _image_conditions(data: Dataset, form: InputFormat) -> dict[str, Dataset]:
    """Return the questions with an image under each of `reliance.CONDITIONS`; nothing if there are none."""
    images = images_seen(data, form)
    if not images:
        return {}
    seen, others = data.only(images), shuffled(images, seed=0)
    within = shuffled_within(images, {pid: wording(data.problems[pid].question) for pid in images}, seed=0)
    return {
        "true": with_images(seen, lambda problem: images[problem.pid]),
        "blank": with_images(seen, lambda problem: White()),
        "shuffled": with_images(seen, lambda problem: others[problem.pid]),
        "within": with_images(seen, lambda problem: within.get(problem.pid, images[problem.pid])),
        "none": with_images(seen, lambda problem: None),
    }
