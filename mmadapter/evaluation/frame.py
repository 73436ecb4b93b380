"""The error frame: one row for each question, with its fields and the answers of one system or several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import LETTERS, Dataset

QUESTION_COLUMNS = (
    *("split", "subject", "topic", "category", "skill", "grade", "has_text", "has_image"),
    *("question", "choices", "n_choices", "answer", "image"),
)
"""Columns of `Dataset.to_pandas`, which sets their dtypes."""
ANSWER_DTYPES = {
    "prediction": "Int64",
    "correct": "boolean",  # never <NA>: no prediction is not correct
    "probabilities": "object",  # list of float, one for each option, or None
    "confidence": "Float64",
    "margin": "Float64",
    "unparsed": "string",
    "prompt_tokens": "Int64",
    "truncated": "boolean",
}


def question_frame(data: Dataset) -> pd.DataFrame:
    """Return the questions of a data set, indexed by pid: `QUESTION_COLUMNS` and `hint`."""
    return data.to_pandas()[[*QUESTION_COLUMNS, "hint"]]


def error_frame(predictions: pd.DataFrame | Mapping[str, pd.DataFrame], data: Dataset) -> pd.DataFrame:
    """Join the questions with the answers of one system or several.

    Args:
        predictions: the result of `predict` or the content of `predictions.parquet`, for one system or for several
            by name.
        data: the questions: one split, or a data set that contains the predicted split.

    Returns:
        Indexed by pid, in the split's order, with the dtypes of `Dataset.to_pandas` and `ANSWER_DTYPES`.
        `confidence` is the probability of the prediction, `margin` its distance to the best other option;
        `unparsed` is the reason why a text did not parse. With several systems each column of `ANSWER_DTYPES`
        occurs once for each, as `correct_NAME`; with two, `outcome` is both right, only NAME, or both wrong.

    Raises:
        UserError: predictions are missing, duplicated, or for other questions; a prediction is not an option of
            its question; the probabilities do not match the options.
    """
    if isinstance(predictions, pd.DataFrame):
        return answered(question_frame(_predicted_split(predictions, data)), predictions)
    if not predictions:
        raise UserError("no predictions: give at least one system's")
    questions = question_frame(_predicted_split(next(iter(predictions.values())), data))
    answers = {name: answer_frame(given, questions, name) for name, given in predictions.items()}
    frame = pd.concat([questions, *(answer.add_suffix(f"_{name}") for name, answer in answers.items())], axis=1)
    if len(answers) == 2:
        a, b = answers
        outcomes = ["both right", f"only {a}", f"only {b}", "both wrong"]
        code = 2 * (~frame[f"correct_{a}"]).astype(int) + (~frame[f"correct_{b}"]).astype(int)
        frame["outcome"] = pd.Categorical.from_codes(code, outcomes)
    return frame


def answered(questions: pd.DataFrame, predictions: pd.DataFrame, name: str = "predictions") -> pd.DataFrame:
    """Return one system's error frame from a `question_frame`; `name` stands in error messages."""
    return questions[list(QUESTION_COLUMNS)].join(answer_frame(predictions, questions, name))


def split_systems(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split an error frame of several systems into one for each; a frame of one system is named `model`."""
    if "correct" in frame:
        return {"model": frame}
    names = [column.removeprefix("correct_") for column in frame.columns if column.startswith("correct_")]
    if not names:
        raise UserError("not an error frame: there is no column 'correct'; mmadapter.error_frame makes one")
    shared = [column for column in QUESTION_COLUMNS if column in frame]
    suffixed = {name: {f"{column}_{name}": column for column in ANSWER_DTYPES} for name in names}
    return {name: frame[[*shared, *columns]].rename(columns=columns) for name, columns in suffixed.items()}


def answer_frame(predictions: pd.DataFrame, questions: pd.DataFrame, name: str = "predictions") -> pd.DataFrame:
    """Return the columns of `ANSWER_DTYPES`, one row for each question; see `error_frame`."""
    given = predictions.set_index("pid") if "pid" in predictions else predictions
    if "prediction" not in given:
        raise UserError(f"{name}: there is no column 'prediction'; there are: {', '.join(given.columns)}")
    given = given.set_axis(given.index.astype("string"))
    check_pids(given.index, questions.index, name)
    given = given.loc[questions.index].reindex(columns=list(ANSWER_DTYPES))
    try:
        prediction = given["prediction"].astype("Int64")
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: a prediction is the index of an option or <NA>: {error}") from error
    check_options(prediction, questions["n_choices"], name)
    probabilities = [_probabilities(value) for value in given["probabilities"]]
    wrong = [
        pid
        for pid, p, n in zip(questions.index, probabilities, questions["n_choices"], strict=True)
        if p is not None and (len(p) != n or not all(0 <= x <= 1 for x in p))
    ]
    if wrong:
        raise UserError(f"{name}: each option needs one probability, from 0 to 1: {some(wrong)}")
    chosen = [_chosen(p, index) for p, index in zip(probabilities, prediction, strict=True)]
    return given.assign(
        prediction=prediction,
        correct=(prediction == questions["answer"]).fillna(False),
        probabilities=pd.Series(probabilities, index=given.index, dtype=object),
        confidence=[p for p, _ in chosen],
        margin=[None if p is None else p - other for p, other in chosen],
    ).astype(ANSWER_DTYPES)


def check_pids(pids: pd.Index, expected: pd.Index, name: str) -> None:
    """Check that every question has one prediction, and that there are no others; else raise a `UserError`."""
    double = pids[pids.duplicated()].unique()
    missing, extra = expected.difference(pids, sort=False), pids.difference(expected, sort=False)
    wrong = {"have more than one prediction": double, "have no prediction": missing, "are not asked": extra}
    found = [f"{len(which)} questions {what}: {some(which)}" for what, which in wrong.items() if len(which)]
    if found:
        raise UserError(f"{name}: {'; '.join(found)}\n  {len(expected)} questions need one prediction each")


def check_options(prediction: pd.Series, n_choices: pd.Series, name: str) -> None:
    """Check that every prediction is an option of its question, or <NA>; else raise a `UserError`."""
    beyond = prediction[(prediction < 0) | (prediction >= n_choices)]
    if len(beyond):
        which = some([f"{pid} ({i} of {n_choices[pid]} options)" for pid, i in beyond.items()])
        raise UserError(
            f"{name}: {len(beyond)} predictions are no option of their question: {which}\n"
            "  a prediction is the index of an option, from 0"
        )


def letter(index: SupportsIndex) -> str:
    """Return the letter of an option, A to E."""
    return LETTERS[index]


def some(items: Iterable[object], at_most: int = 5) -> str:
    """List the first few items for a message, each cut to 80 characters."""
    listed = list(items)
    rest = f", ... ({len(listed) - at_most} more)" if len(listed) > at_most else ""
    return ", ".join(str(item)[:80] for item in listed[:at_most]) + rest


def _predicted_split(predictions: pd.DataFrame, data: Dataset) -> Dataset:
    """Return the split that shares most pids with the predictions; of several, the smallest."""
    if len(data.splits) == 1:
        return data
    pids = set(predictions.get("pid", predictions.index).astype(str))
    best = max(data.splits, key=lambda s: (len(pids.intersection(data.splits[s])), -len(data.splits[s])))
    return data[best]


def _probabilities(value: Any) -> list[float] | None:
    """Return None if there are none, and an empty list, which fits no question, if they are not numbers."""
    try:
        return None if value is None or np.ndim(value) == 0 else [float(x) for x in value]
    except (TypeError, ValueError, OverflowError):
        return []


def _chosen(probabilities: list[float] | None, prediction: Any) -> tuple[float | None, float]:
    """Return the probabilities of the prediction and of the best other option, 0 if there is no other."""
    if probabilities is None or pd.isna(prediction):
        return None, 0.0
    others = [p for i, p in enumerate(probabilities) if i != prediction]
    return probabilities[int(prediction)], max(others, default=0.0)
