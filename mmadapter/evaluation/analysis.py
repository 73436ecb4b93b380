"""Common questions about a system's errors, one line each, over the frame of `error_frame`.

    worst(frame, by="skill")                          the skills with the lowest accuracy
    letter_confusions(frame)                          predicted letter against right letter
    option_confusions(frame)                          predicted option text against right text
    accuracy_against(frame, question_length(frame))   by length, number of options, image size, familiar template
    where_image_helps(frame_of_two, by="topic")       where one of two systems is ahead, question by question

Every accuracy is in percent, with its n and Wilson's 95 % interval, which holds for small n: most groups here are
small, and the worst of many small groups is mostly bad luck. A frame holds one system unless noted.
"""

from __future__ import annotations

import re
from io import BytesIO

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import letter, split_systems
from mmadapter.evaluation.statistics import LEVEL, compare
from mmadapter.scienceqa.problems import LETTERS, Dataset, Problem

UNPARSED = "-"
"""Stands for the letter of an answer that did not parse."""


def worst(frame: pd.DataFrame, by: str, *, least: int = 5) -> pd.DataFrame:
    """Return the groups of questions with the lowest accuracy.

    Sorted by the upper end of the interval, so that groups that are surely bad come before groups that are small.

    Args:
        by: a column: topic, skill, category, subject, grade, ...
        least: smaller groups share one last row, named by how many they are.

    Returns:
        Indexed by group: `n`, `correct`, `accuracy`, `low`, `high`. Questions with an unknown group are left out.

    Raises:
        UserError: no such column.
    """
    groups = _column(frame, by).dropna().astype("string")
    sizes = groups.value_counts()
    small = sizes.index[sizes < least]
    others = f"{len(small)} others, each under {least}"
    table = _accuracy(frame, groups.where(~groups.isin(small), others))
    order = table.drop(index=others, errors="ignore").sort_values(["high", "accuracy"], kind="stable").index
    return table.loc[[*order, *(others,) * (len(small) > 0)]]


def letter_confusions(frame: pd.DataFrame) -> pd.DataFrame:
    """Count each predicted letter (columns) against the right one (rows); `-` is an answer that did not parse.

    Few questions have an E, so its column is small: judge a system by its rows.
    """
    right = frame["answer"].map(letter)
    said = frame["prediction"].map(letter, na_action="ignore").fillna(UNPARSED)
    letters = [*LETTERS[: int(frame["n_choices"].max())]] if len(frame) else []
    table = pd.crosstab(right.rename("right"), said.rename("said"))
    return table.reindex(index=letters, columns=[*letters, UNPARSED], fill_value=0)


def option_confusions(frame: pd.DataFrame, *, least: int = 2) -> pd.DataFrame:
    """Count which option text is predicted in place of which.

    Args:
        least: pairs confused less often are left out.

    Returns:
        Indexed by the texts (`right`, `said`), most frequent first: `confused`, how often; `n`, the questions whose
        answer is `right` and that offer `said`; and `share` with `low` and `high`, confused / n in percent.
    """
    offered = frame[["choices", "answer", "prediction"]].explode("choices")
    offered["place"] = offered.groupby(level=0).cumcount()
    answers = frame["choices"].combine(frame["answer"], lambda choices, answer: choices[answer])
    offered["right"] = answers.reindex(offered.index)
    other = offered[offered["place"] != offered["answer"]]
    said = (other["place"] == other["prediction"]).fillna(False).astype(bool)
    pairs = said.groupby([other["right"], other["choices"].rename("said")]).agg(["sum", "size"])
    pairs = pairs.set_axis(["confused", "n"], axis=1)
    pairs = _with_shares(pairs[pairs["confused"] >= max(least, 1)], "confused", "share")
    return pairs.sort_values(["confused", "share"], ascending=False, kind="stable")


def accuracy_against(frame: pd.DataFrame, values: str | pd.Series, *, bins: int = 5) -> pd.DataFrame:
    """Return accuracy against a property of the questions.

    Args:
        values: a column of the frame (`n_choices`, `grade`, `prompt_tokens`, `confidence`, ...) or a series by pid,
            such as those of `question_length`, `image_size` and `template_seen`.
        bins: a property with more distinct values is cut into this many parts of about equal size.

    Returns:
        Indexed by value or bin, in order: `n`, `correct`, `accuracy`, `low`, `high`. Questions without the property
        are left out.

    Raises:
        UserError: no such column; no question has a value.
    """
    known = (_column(frame, values) if isinstance(values, str) else values.reindex(frame.index)).dropna()
    if known.empty:
        raise UserError(f"{known.name}: known of none of the {len(frame)} questions")
    if known.nunique() > bins:
        known = known.astype(float)
        known = pd.qcut(known, bins, duplicates="drop", precision=0 if (known % 1 == 0).all() else 2)
    return _accuracy(frame, known)


def where_image_helps(frame: pd.DataFrame, by: str = "topic") -> pd.DataFrame:
    """Return where a system with images is ahead of one without, on the questions with an image.

    Args:
        frame: an error frame of two systems, the multimodal one first.
        by: a column of the questions.

    Returns:
        `statistics.compare` by that column, sorted from where the image helps most to where it hurts most.

    Raises:
        UserError: not two systems, or no such column.
    """
    systems = split_systems(frame[frame["has_image"].astype(bool)])
    if len(systems) != 2:
        raise UserError(f"two systems are compared; this error frame is of {len(systems)}: {', '.join(systems)}")
    (first, a), (second, b) = systems.items()
    _column(a, by)
    table = compare(a, b, by=by).rename(columns={"only_a": f"only_{first}", "only_b": f"only_{second}"})
    return table.sort_values("difference", ascending=False, kind="stable")


def question_length(frame: pd.DataFrame) -> pd.Series:
    """Count the words of each question, without hint and options."""
    return frame["question"].str.split().str.len().astype("Int64").rename("question_length")


def image_size(data: Dataset) -> pd.Series:
    """Return width times height of each image in thousands of pixels, read from the head of its file.

    <NA> for a question without an image, and for a file that is none.
    """
    from PIL import Image, UnidentifiedImageError

    def size(problem: Problem) -> float | None:
        if problem.image is None:
            return None
        try:
            with Image.open(BytesIO(problem.image.read())) as image:
                return image.width * image.height / 1000
        except UnidentifiedImageError:
            return None

    return pd.Series({p.pid: size(p) for p in data}, dtype="Float64", name="image_size").rename_axis("pid")


def template_seen(data: Dataset, split: str = "test", seen: str = "train") -> pd.Series:
    """Return whether each question of `split` has a `template` that occurs in `seen`."""
    known = {template(problem.question) for problem in data[seen]}
    found = {problem.pid: template(problem.question) in known for problem in data[split]}
    return pd.Series(found, dtype="boolean", name="template_seen").rename_axis("pid")


def template(question: str) -> str:
    """Strip a question of what distinguishes it from its near-duplicates.

    Quoted words become `"..."`, numbers `#` and names `@`. A name is a run of capitalised words, with "of" or "the"
    between them, that does not open a sentence. Case, extra spaces and the emphasis marks `_` and `*` go.

        What is the capital of New Hampshire?                ->  what is the capital of @ ?
        Would you find the word "dash" on page 12, Tom?      ->  would you find the word "..." on page # , @ ?
    """
    text = _QUOTED.sub('"..."', " ".join(re.sub(r"[_*]", "", question).split()))
    text = _NAME.sub("@", text)
    text = _NUMBER.sub("#", text).casefold()
    return " ".join(_TOKEN.findall(text))


_QUOTED = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|(?<!\w)'[^']*'(?!\w)|(?<!\w)\u2018[^\u2019]*\u2019(?!\w)")
_CAPITAL = r"[A-Z][\w.]*(?:['\u2019-]\w+)*"
_NAME = re.compile(rf"(?<=[\w,;] ){_CAPITAL}(?: (?:(?:of|the|and|de|von) )*{_CAPITAL})*")
_NUMBER = re.compile(r"[-+\u2212]?\d[\d,.]*(?<![,.])")
_TOKEN = re.compile(r"\"\.\.\.\"|[@#]|\w+|[^\w\s]")


def _column(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        raise UserError(f"no column {name!r} in this frame; there are: {', '.join(map(str, frame.columns))}")
    return frame[name]


def _accuracy(frame: pd.DataFrame, groups: pd.Series) -> pd.DataFrame:
    """Return the accuracy in each group, in the groups' order."""
    right = frame["correct"].loc[groups.index].astype(bool)
    table = right.groupby(groups, observed=True).agg(["size", "sum"]).set_axis(["n", "correct"], axis=1)
    return _with_shares(table, "correct", "accuracy")


def _with_shares(table: pd.DataFrame, hits: str, share: str) -> pd.DataFrame:
    """Append the share of `hits` in `n`, in percent, and Wilson's score interval."""
    from scipy import stats  # takes a second

    tests = [stats.binomtest(int(k), int(n)) for k, n in zip(table[hits], table["n"], strict=True)]
    bounds = [[100 * bound for bound in test.proportion_ci(LEVEL, method="wilson")] for test in tests]
    intervals = pd.DataFrame(bounds, index=table.index, columns=["low", "high"], dtype=float)
    return table.assign(**{share: table[hits] / table["n"] * 100}).join(intervals)
