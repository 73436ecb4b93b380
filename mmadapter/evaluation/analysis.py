"""Answer the usual questions about a system's errors, one line each, from the frame of `error_frame`.

    worst(frame, by="skill")                          the skills it is worst at
    letter_confusions(frame)                          which letter it says for which
    option_confusions(frame)                          which option text it says for which
    accuracy_against(frame, question_length(frame))   by length, number of options, image size, familiar template
    where_image_helps(frame_of_two, by="topic")       where one of two systems is ahead, question by question

Every accuracy is in percent beside its n and Wilson's 95 % interval, which holds for small n: most groups here
are small, and the worst of many small groups is mostly bad luck. Frames are one system's unless it says otherwise.
"""

from __future__ import annotations

import re

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import letter, split_systems
from mmadapter.evaluation.statistics import LEVEL, compare
from mmadapter.scienceqa.problems import LETTERS, Dataset

UNPARSED = "-"
"""Stands for a letter where an answer did not parse."""


def worst(frame: pd.DataFrame, by: str, *, least: int = 5) -> pd.DataFrame:
    """Find the groups of questions that a system is worst at.

    Sorted by the upper end of the interval: first come those that are surely bad, not those that are small.

    Args:
        by: a column: topic, skill, category, subject, grade, ...
        least: smaller groups are put together in one row at the end, named by their number.

    Returns:
        Indexed by group: `n`, `correct`, `accuracy`, `low`, `high`. Questions whose group is unknown are left out.

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
    """Count which letter is said (columns) for which right one (rows); `-` is an answer that did not parse.

    A letter that many questions do not have is rarely said: what is wrong with an answer shows in its row.
    """
    right = frame["answer"].map(letter)
    said = frame["prediction"].map(letter, na_action="ignore").fillna(UNPARSED)
    letters = [*LETTERS[: int(frame["n_choices"].max())]] if len(frame) else []
    table = pd.crosstab(right.rename("right"), said.rename("said"))
    return table.reindex(index=letters, columns=[*letters, UNPARSED], fill_value=0)


def option_confusions(frame: pd.DataFrame, *, least: int = 2) -> pd.DataFrame:
    """Count which option text is said for which.

    Args:
        least: pairs that were confused less often are left out.

    Returns:
        Indexed by the texts (`right`, `said`), most frequent first: `confused`, times it was said for it; `n`,
        questions that had the one as their answer and offered the other; and `share`, `low`, `high`, how often of
        these it was said, in percent.
    """
    offered = frame[["choices", "answer", "prediction"]].explode("choices")
    offered["place"] = offered.groupby(level=0).cumcount()
    answers = frame["choices"].combine(frame["answer"], lambda choices, answer: choices[answer])
    offered["right"] = answers.reindex(offered.index)
    other = offered[offered["place"] != offered["answer"]]
    said = (other["place"] == other["prediction"]).fillna(False).astype(bool)
    pairs = said.groupby([other["right"], other["choices"].rename("said")]).agg(["sum", "size"])
    pairs = pairs.set_axis(["confused", "n"], axis=1)
    pairs = pairs[pairs["confused"] >= max(least, 1)]
    bounds = [_wilson(row.confused, row.n) for row in pairs.itertuples()]
    pairs["share"] = pairs["confused"] / pairs["n"] * 100
    pairs[["low", "high"]] = pd.DataFrame(bounds, index=pairs.index, columns=["low", "high"], dtype=float)
    return pairs.sort_values(["confused", "share"], ascending=False, kind="stable")


def accuracy_against(frame: pd.DataFrame, values: str | pd.Series, *, bins: int = 5) -> pd.DataFrame:
    """Compute accuracy against a property of the questions.

    Args:
        values: a column of the frame (`n_choices`, `grade`, `prompt_tokens`, `confidence`, ...) or a series by pid,
            as `question_length`, `image_size` and `template_seen` give.
        bins: a property with more values than that is cut into as many parts with about as many questions.

    Returns:
        Indexed by value or bin, in order: `n`, `correct`, `accuracy`, `low`, `high`. Questions without the property
        are left out.

    Raises:
        UserError: no such column; no value for any question.
    """
    known = _column(frame, values) if isinstance(values, str) else values.reindex(frame.index)
    known = known.dropna()
    if known.empty:
        raise UserError(f"{known.name}: known of none of the {len(frame)} questions")
    if known.nunique() > bins:
        known = known.astype(float)
        known = pd.qcut(known, bins, duplicates="drop", precision=0 if (known % 1 == 0).all() else 2)
    return _accuracy(frame, known)


def where_image_helps(frame: pd.DataFrame, by: str = "topic") -> pd.DataFrame:
    """Compare the first of two systems, the one with images, with the second on questions with an image.

    Args:
        frame: an error frame of two systems, the multimodal one first.
        by: a column of the questions.

    Returns:
        `intervals.compare` by that column, sorted from where the image helps most to where it hurts most.

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
    """Number of words of each question, without hint and options."""
    return frame["question"].str.split().str.len().astype("Int64").rename("question_length")


def image_size(data: Dataset) -> pd.Series:
    """Width times height of each image, in thousands of pixels; <NA> for a question without one.

    Only the head of a file is looked at; where that is no image, so is its size <NA>.
    """
    from io import BytesIO

    from PIL import Image, UnidentifiedImageError

    def size(problem) -> float | None:
        if problem.image is None:
            return None
        try:
            with Image.open(BytesIO(problem.image.read())) as image:
                return image.width * image.height / 1000
        except UnidentifiedImageError:
            return None

    return pd.Series({p.pid: size(p) for p in data}, dtype="Float64", name="image_size").rename_axis("pid")


def template_seen(data: Dataset, split: str = "test", seen: str = "train") -> pd.Series:
    """Whether each question's `template` occurs in the training problems.

    Args:
        data: a data set with both splits.
        split, seen: the questions asked about, and those that were learnt from.
    """
    known = {template(problem.question) for problem in data[seen]}
    found = {problem.pid: template(problem.question) in known for problem in data[split]}
    return pd.Series(found, dtype="boolean", name="template_seen").rename_axis("pid")


def template(question: str) -> str:
    """Reduce a question to what it shares with its near-duplicates.

    Quoted words become `"..."`, numbers `#` and names `@`; a name is a run of capitalised words (and what belongs
    to them: "of", "the") that does not open a sentence. Case, spaces and the marks around words go.

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
    """Accuracy in each group, in the groups' order."""
    right = frame["correct"].loc[groups.index].astype(bool)
    table = right.groupby(groups, observed=True).agg(["size", "sum"]).set_axis(["n", "correct"], axis=1)
    table["accuracy"] = table["correct"] / table["n"] * 100
    bounds = [_wilson(row.correct, row.n) for row in table.itertuples()]
    table[["low", "high"]] = pd.DataFrame(bounds, index=table.index, columns=["low", "high"], dtype=float)
    return table


def _wilson(correct: int, n: int) -> tuple[float, float]:
    """Wilson's score interval, in percent."""
    from scipy import stats

    interval = stats.binomtest(int(correct), int(n)).proportion_ci(LEVEL, method="wilson")
    return interval.low * 100, interval.high * 100
