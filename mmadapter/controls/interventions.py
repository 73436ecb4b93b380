"""Questions with one thing changed: another image or none, or the options in another order."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, ImageSource, Problem


class White:
    """A white picture."""

    where = "the blank image"

    def read(self) -> bytes:
        """Return a PNG, the same bytes every time."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (224, 224), "white").save(buffer, "PNG")
        return buffer.getvalue()


def with_images(data: Dataset, image: Callable[[Problem], ImageSource | None]) -> Dataset:
    """Return the problems, each with the picture that `image` gives it and no other."""
    return replace(data, problems={p.pid: replace(p, image=image(p), choice_images=()) for p in data})


def rotated(data: Dataset, turn: int) -> Dataset:
    """Return the problems with more than `turn` options, their first `turn` options moved to the end."""
    turned = data.only({p.pid for p in data if len(p.choices) > turn})
    problems = {
        p.pid: replace(p, choices=p.choices[turn:] + p.choices[:turn], answer=(p.answer - turn) % len(p.choices))
        for p in turned
    }
    return replace(turned, problems=problems)


def turned_back(answers: pd.DataFrame, turned: Dataset, turn: int) -> pd.DataFrame:
    """Return predictions of rotated questions in the options' original order."""
    n_choices = np.array([len(turned.problems[pid].choices) for pid in answers["pid"]])
    return answers.assign(
        prediction=(answers["prediction"] + turn) % n_choices,
        probabilities=[p if p is None else np.roll(p, turn).tolist() for p in answers["probabilities"]],
    )


def shuffled(images: dict[str, ImageSource], seed: int) -> dict[str, ImageSource]:
    """Give each question's image to another question, whose own image differs in content.

    Raises:
        UserError: an image cannot be read, or more than half of the questions have the same one.
    """
    pids = list(images)
    contents = [hashlib.sha256(images[pid].read()).digest() for pid in pids]
    return {pid: images[pids[other]] for pid, other in zip(pids, derangement(contents, seed), strict=True)}


def shuffled_within(images: dict[str, ImageSource], words: Mapping[str, str], seed: int) -> dict[str, ImageSource]:
    """Give each question's image to another question of the same words, whose own image differs in content.

    Args:
        images: by pid.
        words: the wording of each question, by pid.

    Returns:
        A random one of those images by pid. Questions whose wording has no other image are left out.

    Raises:
        UserError: an image cannot be read.
    """
    content = {pid: hashlib.sha256(image.read()).digest() for pid, image in images.items()}
    groups: dict[str, list[str]] = {}
    for pid in images:
        groups.setdefault(words[pid], []).append(pid)
    others = {pid: [other for other in groups[words[pid]] if content[other] != content[pid]] for pid in images}
    return {pid: images[Random(f"{seed} {pid}").choice(found)] for pid, found in others.items() if found}


def derangement(contents: Sequence[Hashable], seed: int) -> list[int]:
    """Return a random permutation that gives no item an equal one.

    In a random order with equal items side by side, each takes the one as many places further as the largest group
    has members, and so leaves its own group.

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
    taken = dict(zip(order, order[step:] + order[:step], strict=True))
    return [taken[item] for item in range(len(contents))]
