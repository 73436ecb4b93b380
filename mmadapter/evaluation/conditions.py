"""A model asked again under other conditions: another image or none, the options in another order.

A condition is a data set: the same questions with something changed in them. Nothing of the model knows about it,
and a white picture goes through the image tower and its store like any other.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from mmadapter.config import InputFormat, Scoring
from mmadapter.errors import UserError
from mmadapter.evaluation.controls import LABELS, ROTATION
from mmadapter.evaluation.predict import predict
from mmadapter.features import image_of
from mmadapter.model import MultimodalAdapter
from mmadapter.scienceqa.problems import Dataset, ImageSource, Problem


@dataclass(frozen=True, slots=True)
class White:
    """A picture of nothing."""

    where: str = "the blank image"
    size: int = 224

    def read(self) -> bytes:
        """A white PNG, the same bytes every time."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (self.size, self.size), "white").save(buffer, "PNG")
        return buffer.getvalue()


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
    """What a model answers under every condition.

    The questions with an image are asked four times, with the true image, too: all four in the same batches, so
    that rounding, which depends on a batch, changes no answer. Every question is asked once for each further
    rotation of its options.

    Args:
        answers: the model's predictions of `data` as it stands, with the same scoring: rotation 0.
        seed: of the shuffled images.
        folder: where the answers under each condition are kept: an interrupted call goes on after the last batch.
        store_activations: as of `predict`, for the conditions of the image: their questions read the same.

    Returns:
        A row an answer: `condition` (one of `controls.CONDITIONS`, or `rotation N`), `pid`, `prediction` and
        `probabilities`, both in terms of the question's own order of options.

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
    """The questions with an image, under each of `controls.CONDITIONS`; nothing if there are none."""
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


def with_images(data: Dataset, image: Callable[[Problem], ImageSource | None]) -> Dataset:
    """The problems with the picture that `image` gives each of them, and none beside it."""
    problems = {p.pid: replace(p, image=image(p), choice_images=()) for p in data}
    return replace(data, problems=problems)


def rotated(data: Dataset, turn: int) -> Dataset:
    """The problems with more than `turn` options, the first `turn` of which moved to the end."""
    turned = data.only({p.pid for p in data if len(p.choices) > turn})
    problems = {
        p.pid: replace(p, choices=p.choices[turn:] + p.choices[:turn], answer=(p.answer - turn) % len(p.choices))
        for p in turned
    }
    return replace(turned, problems=problems)


def turned_back(answers: pd.DataFrame, turned: Dataset, turn: int) -> pd.DataFrame:
    """Predictions of rotated questions, in terms of their original order."""
    n_choices = np.array([len(turned.problems[pid].choices) for pid in answers["pid"]])
    return answers.assign(
        prediction=(answers["prediction"] + turn) % n_choices,
        probabilities=[p if p is None else np.roll(p, turn).tolist() for p in answers["probabilities"]],
    )


def shuffled(images: dict[str, ImageSource], seed: int) -> dict[str, ImageSource]:
    """Every question's image given to another one, whose own picture is another, by its content.

    Raises:
        UserError: an image cannot be read; more than half of the questions have the same picture.
    """
    pids = list(images)
    contents = [hashlib.sha256(images[pid].read()).digest() for pid in pids]
    return {pid: images[pids[other]] for pid, other in zip(pids, derangement(contents, seed), strict=True)}


def derangement(contents: Sequence[Hashable], seed: int) -> list[int]:
    """A random permutation that gives nobody an equal of his own.

    Equal items stand together in an order that is random otherwise, and each takes from as many places further as
    the largest group has members: out of its own group, but not around the circle into it.

    Raises:
        UserError: more than half of the items are equal.
    """
    groups = Counter(contents)
    step = max(groups.values())
    if 2 * step > len(contents):
        raise UserError(
            f"images cannot be shuffled: {step} of the {len(contents)} questions with an image have the same one"
        )
    random = Random(seed)
    place = {content: random.random() for content in groups}
    order = sorted(range(len(contents)), key=lambda item: (place[contents[item]], random.random()))
    taken = [0] * len(order)
    for at, item in enumerate(order):
        taken[item] = order[(at + step) % len(order)]
    return taken
