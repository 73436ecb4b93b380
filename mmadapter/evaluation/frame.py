"""The per-question frame: each question with every system's answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import LETTERS

if TYPE_CHECKING:
    from mmadapter.scienceqa.problems import Dataset

QUESTION_COLUMNS = (
    "split",
    "subject",
    "topic",
    "category",
    "skill",
    "grade",
    "has_text",
    "has_image",
    "question",
    "choices",
    "n_choices",
    "answer",
    "image",
)
"""Columns taken from `Dataset.to_pandas`, with its dtypes."""
ANSWER_DTYPES = {
    "prediction": "Int64",
    "correct": "boolean",  # never <NA>: no prediction is not correct
    "probabilities": "object",  # list of float, one an option, or None
    "confidence": "Float64",
    "margin": "Float64",
    "unparsed": "string",
    "prompt_tokens": "Int64",
    "truncated": "boolean",
}


def question_frame(data: Dataset) -> pd.DataFrame:
    """Return the questions of a data set, indexed by pid."""
    return data.to_pandas()[list(QUESTION_COLUMNS)]


def error_frame(predictions: pd.DataFrame | Mapping[str, pd.DataFrame], data: Dataset) -> pd.DataFrame:
    """Return one row a question, with the answers of one system or several.

    Args:
        predictions: what `predict` returns or `predictions.parquet` holds, of one system or of several by name.
        data: the questions: one split, or a data set with the split that was predicted.

    Returns:
        Indexed by pid, in the split's order, with the dtypes of `Dataset.to_pandas` and `ANSWER_DTYPES`.
        `confidence` is the probability of the prediction, `margin` that minus the best other option's;
        `unparsed` says why a text did not parse. For several systems each of the latter columns exists once
        a system, as `correct_NAME`; for two, `outcome` is both right, only NAME, or both wrong.

    Raises:
        UserError: predictions are missing, or for other questions, or twice; a prediction is no option of its
            question; the probabilities are not one an option.
    """
    if isinstance(predictions, pd.DataFrame):
        questions = question_frame(_split_of(predictions, data))
        return questions.join(answer_frame(predictions, questions), validate="one_to_one")
    if not predictions:
        raise UserError("no predictions: give at least one system's")
    questions = question_frame(_split_of(next(iter(predictions.values())), data))
    answers = {name: answer_frame(frame, questions, name) for name, frame in predictions.items()}
    return join_systems(questions, answers)


def join_systems(questions: pd.DataFrame, answers: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Join `question_frame` with the `answer_frame` of several systems."""
    frame = pd.concat([questions, *(each.add_suffix(f"_{name}") for name, each in answers.items())], axis=1)
    if len(answers) == 2:
        (a, b), labels = answers, dict(enumerate(outcome_names(*answers)))
        code = 2 * (~frame[f"correct_{a}"]).astype(int) + (~frame[f"correct_{b}"]).astype(int)
        frame["outcome"] = pd.Categorical(code.map(labels), categories=list(labels.values()))
    return frame


def outcome_names(a: str, b: str) -> tuple[str, str, str, str]:
    """Outcomes of a question for two systems: both right, only a, only b, both wrong."""
    return ("both right", f"only {a}", f"only {b}", "both wrong")


def split_systems(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split an error frame of several systems into one a system; a single system is named `model`."""
    if "correct" in frame:
        return {"model": frame}
    names = [column.removeprefix("correct_") for column in frame.columns if column.startswith("correct_")]
    if not names:
        raise UserError("not an error frame: there is no column 'correct'; mmadapter.error_frame makes one")
    shared = [column for column in QUESTION_COLUMNS if column in frame]
    own = {name: {f"{column}_{name}": column for column in ANSWER_DTYPES} for name in names}
    return {name: frame[[*shared, *own[name]]].rename(columns=own[name]) for name in names}


def answer_frame(predictions: pd.DataFrame, questions: pd.DataFrame, name: str = "predictions") -> pd.DataFrame:
    """Return the columns of `ANSWER_DTYPES`, one row a question; see `error_frame`."""
    given = predictions.set_index("pid") if "pid" in predictions else predictions
    if "prediction" not in given:
        raise UserError(f"{name}: there is no column 'prediction'; there are: {', '.join(given.columns)}")
    check_pids(given.index.astype(str), questions.index, name)
    given = given.set_axis(given.index.astype("string")).loc[questions.index]
    given = given.reindex(columns=[column for column in ANSWER_DTYPES if column != "correct"])
    try:
        prediction = given["prediction"].astype("Int64")
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: a prediction is the index of an option or <NA>: {error}") from error
    check_options(prediction, questions["n_choices"], name)
    frame = pd.DataFrame(index=questions.index)
    frame["prediction"] = prediction
    frame["correct"] = (prediction == questions["answer"]).fillna(False)
    probabilities = [_probabilities(value) for value in given["probabilities"]]
    wrong = [
        pid
        for pid, p, n in zip(questions.index, probabilities, questions["n_choices"], strict=True)
        if p is not None and (len(p) != n or not all(0 <= x <= 1 for x in p))
    ]
    if wrong:
        raise UserError(f"{name}: probabilities must be one an option, from 0 to 1: {some(wrong)}")
    frame["probabilities"] = pd.Series(probabilities, index=frame.index, dtype=object)
    chosen = [_chosen(p, i) for p, i in zip(probabilities, prediction, strict=True)]
    frame["confidence"] = [p for p, _ in chosen]
    frame["margin"] = [None if p is None else p - other for p, other in chosen]
    for column in ("unparsed", "prompt_tokens", "truncated"):
        frame[column] = given[column]
    return frame.astype(ANSWER_DTYPES)


def check_pids(pids: pd.Index, expected: pd.Index, name: str) -> None:
    """Check that each question has exactly one prediction, and no other question has any.

    Raises:
        UserError: how many are double, missing or too many, and which.
    """
    double = pids[pids.duplicated()].unique()
    missing, extra = expected.difference(pids, sort=False), pids.difference(expected, sort=False)
    wrong = {"have more than one prediction": double, "have no prediction": missing, "are not asked": extra}
    told = [f"{len(which)} questions {what}: {some(which)}" for what, which in wrong.items() if len(which)]
    if told:
        raise UserError(f"{name}: {'; '.join(told)}\n  {len(expected)} questions need one prediction each")


def check_options(prediction: pd.Series, n_choices: pd.Series, name: str) -> None:
    """Check that every prediction is an option of its question, or <NA>.

    Raises:
        UserError: how many are not, and which.
    """
    beyond = prediction[(prediction < 0) | (prediction >= n_choices)]
    if len(beyond):
        which = some([f"{pid} ({i} of {n_choices[pid]} options)" for pid, i in beyond.items()])
        raise UserError(
            f"{name}: {len(beyond)} predictions are no option of their question: {which}\n"
            "  a prediction is the index of an option, from 0"
        )


def letter(index: SupportsIndex) -> str:
    """Letter of an option, A to E."""
    return LETTERS[index]


def some(items: Iterable[object], at_most: int = 5) -> str:
    """List the first few of many, each cut short, for a message."""
    listed = list(items)
    rest = f", ... ({len(listed) - at_most} more)" if len(listed) > at_most else ""
    return ", ".join(str(item)[:80] for item in listed[:at_most]) + rest


def _split_of(predictions: pd.DataFrame, data: Dataset) -> Dataset:
    """Find the predicted split: the one that shares most pids, the smallest of equals."""
    if len(data.splits) == 1:
        return data
    pids = set(_pids(predictions).astype(str))
    best = max(data.splits, key=lambda s: (len(pids.intersection(data.splits[s])), -len(data.splits[s])))
    return data[best]


def _pids(predictions: pd.DataFrame) -> pd.Index:
    return pd.Index(predictions["pid"]) if "pid" in predictions else predictions.index


def _probabilities(value: Any) -> list[float] | None:
    """Probabilities as floats; None where there are none, empty where they are not numbers."""
    try:
        return None if value is None or np.ndim(value) == 0 else [float(x) for x in value]
    except (TypeError, ValueError, OverflowError):
        return []


def _chosen(probabilities: list[float] | None, prediction: Any) -> tuple[float | None, float]:
    """Probability of the prediction, and of the best other option (0 without one)."""
    if probabilities is None or pd.isna(prediction):
        return None, 0.0
    others = [p for i, p in enumerate(probabilities) if i != prediction]
    return probabilities[int(prediction)], max(others, default=0.0)
