"""Change one thing in the questions: another image or none, another order of the options.

A changed question is an ordinary one: the model does not know about it, and a white picture goes through the image
tower and its store like any other.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, ImageSource, Problem


@dataclass(frozen=True, slots=True)
class White:
    """A white picture."""

    where: str = "the blank image"
    size: int = 224

    def read(self) -> bytes:
        """Return a white PNG, the same bytes every time."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.new("RGB", (self.size, self.size), "white").save(buffer, "PNG")
        return buffer.getvalue()


def with_images(data: Dataset, image: Callable[[Problem], ImageSource | None]) -> Dataset:
    """Replace each problem's picture by what `image` returns, and drop pictures of options."""
    problems = {p.pid: replace(p, image=image(p), choice_images=()) for p in data}
    return replace(data, problems=problems)


def rotated(data: Dataset, turn: int) -> Dataset:
    """Move the first `turn` options to the end, in problems with more options than that."""
    turned = data.only({p.pid for p in data if len(p.choices) > turn})
    problems = {
        p.pid: replace(p, choices=p.choices[turn:] + p.choices[:turn], answer=(p.answer - turn) % len(p.choices))
        for p in turned
    }
    return replace(turned, problems=problems)


def turned_back(answers: pd.DataFrame, turned: Dataset, turn: int) -> pd.DataFrame:
    """Express predictions of rotated questions in their original order."""
    n_choices = np.array([len(turned.problems[pid].choices) for pid in answers["pid"]])
    return answers.assign(
        prediction=(answers["prediction"] + turn) % n_choices,
        probabilities=[p if p is None else np.roll(p, turn).tolist() for p in answers["probabilities"]],
    )


def shuffled(images: dict[str, ImageSource], seed: int) -> dict[str, ImageSource]:
    """Give each question another question's picture, one with another content.

    Raises:
        UserError: an image cannot be read; more than half of the questions have the same picture.
    """
    pids = list(images)
    contents = [hashlib.sha256(images[pid].read()).digest() for pid in pids]
    return {pid: images[pids[other]] for pid, other in zip(pids, derangement(contents, seed), strict=True)}


def derangement(contents: Sequence[Hashable], seed: int) -> list[int]:
    """Draw a random permutation that maps no item to one equal to it.

    Equal items form groups on a circle in random order. Each item takes from as many places further as the largest
    group has members: that leaves its own group and does not come around to it.

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
