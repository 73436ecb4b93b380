"""Questions that share their words, and what training has seen of them.

The *wording* of a question is its text without hint and options (`scienceqa.wording`). ScienceQA is made of templates:
2,017 image questions of its test split have 724 wordings. Questions of one wording are a *cluster*: they are not
independent, and training may have asked the same.

Every function that ends in `_classes` returns boolean masks by name, as `accuracy.question_classes` does: <NA> where a
question's own field is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from mmadapter.scienceqa.wording import wording

NEVER, SELDOM, OFTEN = "never asked", "asked 1 to 10 times", "asked more often"
"""Classes by how many training questions have the same wording."""
MOST_SELDOM = 10
"""Training questions of one wording that still count as seldom."""
PICTURE_SEEN, PICTURE_NEW = "picture seen", "picture new"
SHORT, MEDIUM, LONG = "options of 1 word", "options of 2 or 3 words", "options of 4 words and more"
"""Classes by the words of a question's longest option."""


def wordings(frame: pd.DataFrame) -> pd.Series:
    """The wording of each question.

    Args:
        frame: `question`, as `frame.question_frame` has it.

    Returns:
        A text a question, with the frame's index.
    """
    return pd.Series(list(map(wording, frame["question"])), index=frame.index, dtype="string", name="wording")


def cluster_ids(frame: pd.DataFrame) -> pd.Series:
    """The cluster of each question: 0, 1, ... by the first question of each wording; integers with the frame's index.

    The ids hold within this frame alone; the name of the series, "wording", says what a cluster is.
    """
    codes, _ = pd.factorize(wordings(frame))
    return pd.Series(codes, index=frame.index, name="wording")


def times_asked(frame: pd.DataFrame, train: pd.DataFrame) -> pd.Series:
    """Count the training questions that have the same wording, whatever hint, options and picture: an integer each."""
    counts = wordings(train).value_counts()
    times = wordings(frame).map(counts).fillna(0).astype("int64")
    return times.rename("times asked")


def asked_classes(frame: pd.DataFrame, train: pd.DataFrame) -> dict[str, pd.Series]:
    """Questions by how often training asks their wording: never, 1 to 10 times, more often."""
    times = times_asked(frame, train)
    masks = {NEVER: times == 0, SELDOM: times.between(1, MOST_SELDOM), OFTEN: times > MOST_SELDOM}
    return {name: mask.astype("boolean") for name, mask in masks.items()}


def picture_classes(frame: pd.DataFrame, hashes: Mapping[str, str], train: pd.DataFrame) -> dict[str, pd.Series]:
    """Image questions by whether training shows a picture of the same pixels, under whatever words.

    Args:
        frame: `has_image` of the questions scored.
        hashes: `pictures.Pictures.hashes`, by pid, of these and of the training questions. A picture that is missing
            here or in training leaves it unknown whether an unmatched picture was seen.
        train: `has_image` of the training questions.

    Returns:
        Two masks. A question without a picture is in neither; <NA> where it cannot be told.
    """
    shown = train.index[train["has_image"].astype(bool)]
    known = {hashes[pid] for pid in shown if pid in hashes}
    complete = all(pid in hashes for pid in shown)

    def seen(pid: str) -> object:
        if pid not in hashes:
            return pd.NA
        return True if hashes[pid] in known else False if complete else pd.NA

    image = frame["has_image"].astype("boolean")
    was_seen = pd.Series(
        [seen(pid) if shows else False for pid, shows in zip(frame.index, image, strict=True)],
        index=frame.index,
        dtype="boolean",
    )
    return {PICTURE_SEEN: image & was_seen, PICTURE_NEW: image & ~was_seen}


def option_length_classes(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Questions by the words of their longest option: 1 (or none), 2 or 3, 4 and more; white space parts words."""
    words = frame["choices"].map(lambda choices: max((len(text.split()) for text in choices), default=0)).astype(int)
    masks = {SHORT: words <= 1, MEDIUM: words.between(2, 3), LONG: words >= 4}
    return {name: mask.astype("boolean") for name, mask in masks.items()}


def option_count_classes(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Questions by how many options they offer: a class for each number that occurs, ascending."""
    count = frame["n_choices"].astype("Int64")
    numbers = sorted(int(n) for n in count.dropna().unique())
    return {"1 option" if n == 1 else f"{n} options": count == n for n in numbers}


def skill_classes(frame: pd.DataFrame, least: int = 1) -> dict[str, pd.Series]:
    """Questions by skill, in alphabetical order.

    Args:
        frame: `skill`; where it is unknown, every mask is <NA>: the question may be of any skill.
        least: questions that a skill must have to be a class.
    """
    skill = frame["skill"].astype("string")
    counts = skill.value_counts()
    return {f"skill: {name}": skill == name for name in sorted(counts.index[counts >= least])}


LEAST_OF_A_SKILL = 20
"""Questions that a skill must have for a row of its own."""
KINDS: dict[str, Callable[[pd.DataFrame], dict[str, pd.Series]]] = {
    "option-length": option_length_classes,
    "option-count": option_count_classes,
    "skill": lambda frame: skill_classes(frame, LEAST_OF_A_SKILL),
}
"""Classes that need the questions alone."""
