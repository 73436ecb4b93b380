"""Question families, and drawing one problem of a family from a random generator.

The answer comes first: the generator settles which value is right and where it stands among the options, and the
family builds a question around it. In image families the question, the hint and the wrong options have the same
distribution whatever the value, so without the picture every option is equally likely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from eval.demo.drawing import Scene
from eval.demo.words import DAYS, NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A question as its family writes it, without the order of the options."""

    question: str
    solution: str
    answer: str | None = None
    """The right option; None for the value itself."""
    others: Sequence[str] | None = None
    """The wrong options; None for other values of the family, every subset equally likely."""
    hint: str = ""
    caption: str | None = None
    scene: Scene | None = None
    """The picture; its seed is still to be drawn."""


DraftFunction = Callable[[Random, str], Draft]
"""Writes a question around the right value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A kind of question, with the ScienceQA metadata that all its problems share."""

    name: str
    subject: str
    topic: str
    category: str
    skill: str
    lecture: str
    grades: tuple[int, int]
    """First and last grade."""
    context: str
    """image, text or none."""
    values: Sequence[str]
    """Possible answers, or what settles the answer; each is equally frequent."""
    n_choices: int
    draft: DraftFunction
    share: float
    """Weight of this family among all."""
    aside: str
    """A remark in the hint of some image problems; it does not help."""


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
    """Description of the picture, the decisive attribute included; None without a picture."""
    scene: Scene | None
    """The picture, as `eval.demo.draw` draws it; None without one."""
    solution: str
    grade: int

    @property
    def key(self) -> tuple[str, str, str | None, frozenset[str]]:
        """Two problems with equal keys are the same problem, whatever the order of their options."""
        return self.question, self.hint, self.caption, frozenset(self.choices)


ASIDE_SHARE = 0.1
"""Share of the image problems that have a hint too: ScienceQA's TXT and IMG overlap."""


def sample_problem(
    rng: Random, family: Family, *, value: str | None = None, position: int | None = None
) -> DemoProblem:
    """Sample a problem of a family, without drawing its picture.

    Args:
        value: one of `family.values`; uniformly random where None.
        position: index of the right option; uniformly random where None.
    """
    value = rng.choice(family.values) if value is None else value
    position = rng.randrange(family.n_choices) if position is None else position
    draft = family.draft(rng, value)
    wrong = others(rng, family.values, value, family.n_choices - 1) if draft.others is None else draft.others
    scene = draft.scene and replace(draft.scene, seed=rng.getrandbits(32))
    choices = rng.sample(wrong, len(wrong))
    choices.insert(position, value if draft.answer is None else draft.answer)
    hint = draft.hint
    if family.context == "image" and rng.random() < ASIDE_SHARE:
        hint = f"{family.aside} {rng.choice(NAMES)} drew this on {rng.choice(DAYS)}."
    return DemoProblem(
        family=family,
        question=draft.question,
        choices=tuple(choices),
        answer=position,
        hint=hint,
        caption=draft.caption,
        scene=scene,
        solution=draft.solution,
        grade=rng.randint(*family.grades),
    )


def others(rng: Random, values: Iterable[str], answer: str, count: int) -> list[str]:
    """Draw `count` wrong values, every subset equally likely."""
    return rng.sample([value for value in values if value != answer], count)


def with_article(noun: str) -> str:
    """Return "a pear" or "an apple"."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
