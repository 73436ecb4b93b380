"""A family of questions, and how one of its problems is sampled.

The answer is fixed before anything else: the generator first settles which value is right and at which
position it stands, then the family builds a question around it. Question, hint and wrong options follow the
same distribution whatever the value (image families), so without the picture every option is equally likely.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from mmadapter.demo import words
from mmadapter.demo.drawing import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A problem as a family writes it, before its options are ordered."""

    question: str
    answer: str
    others: Sequence[str]
    """The wrong options."""
    solution: str
    hint: str = ""
    caption: str | None = None
    scene: Scene | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of question, with ScienceQA's metadata."""

    name: str
    subject: str
    topic: str
    category: str
    skill: str
    lecture: str
    grades: tuple[int, int]
    """First and last grade."""
    context: Literal["image", "text", "none"]
    values: Sequence[str]
    """Possible answers (or what decides them); each is equally frequent."""
    n_choices: int
    draft: Callable[[Random, str], Draft]
    share: int | float
    """Weight of this family among all."""
    task: str = "closed choice"
    aside: str = ""
    """A remark in the hint of some image problems, which does not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProblem:
    """One generated question."""

    family: Family
    question: str
    choices: tuple[str, ...]
    answer: int
    """0-based index of the right choice."""
    hint: str
    """"" if there is none."""
    caption: str | None
    """Description of the picture, with the decisive attribute; None without a picture."""
    scene: Scene | None
    """Scene of the picture, for `mmadapter.demo.draw`; None without one."""
    solution: str
    grade: int

    @property
    def key(self) -> tuple[str, str, str | None, frozenset[str]]:
        """Equal for problems that differ only in the order of their options."""
        return self.question, self.hint, self.caption, frozenset(self.choices)


ASIDE_SHARE = 0.1
"""Share of the image problems that also have a hint: ScienceQA's TXT and IMG overlap."""


def families(drafts: Mapping[str, tuple[Callable[[Random, str], Draft], Sequence[str]]]) -> tuple[Family, ...]:
    """Combine metadata from `families.json` with each family's draft function and possible answers."""
    metadata = json.loads(Path(__file__).with_name("families.json").read_text(encoding="utf-8"))
    return tuple(
        Family(**own | {"grades": tuple(own["grades"])}, draft=drafts[own["name"]][0], values=drafts[own["name"]][1])
        for own in metadata
        if own["name"] in drafts
    )


def sample_problem(
    rng: Random, family: Family, *, value: str | None = None, position: int | None = None
) -> DemoProblem:
    """Sample a problem of a family, without drawing its picture.

    Args:
        value: one of `family.values`; drawn uniformly where None.
        position: index of the right option; drawn uniformly where None.
    """
    value = rng.choice(family.values) if value is None else value
    position = rng.randrange(family.n_choices) if position is None else position
    draft = family.draft(rng, value)
    choices = rng.sample(draft.others, len(draft.others))
    choices.insert(position, draft.answer)
    hint = draft.hint
    if family.context == "image" and rng.random() < ASIDE_SHARE:
        hint = f"{family.aside} {rng.choice(words.NAMES)} drew this on {rng.choice(words.DAYS)}."
    return DemoProblem(
        family=family,
        question=draft.question,
        choices=tuple(choices),
        answer=position,
        hint=hint,
        caption=draft.caption,
        scene=draft.scene,
        solution=draft.solution,
        grade=rng.randint(*family.grades),
    )


def others(rng: Random, values: Sequence[str], answer: str, count: int) -> list[str]:
    """`count` wrong values, every subset equally likely."""
    return rng.sample([value for value in values if value != answer], count)


def names(rng: Random, count: int) -> list[str]:
    """`count` different people."""
    return rng.sample(words.NAMES, count)


def with_article(noun: str) -> str:
    """The word with its article: a pear, an apple."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def fresh_seed(rng: Random) -> int:
    """A seed for everything that a caption does not mention."""
    return rng.getrandbits(32)
