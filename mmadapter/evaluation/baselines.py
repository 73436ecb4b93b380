"""Answers without a language model: the rows that belong above every table.

A baseline gives every option of a question a score, and answers with the highest. Where several options share it, the
next score of the list decides among them alone; where the list ends, each of those left gets an equal share of the
credit. A question's *credit* is therefore a fraction from 0 to 1, the probability that the baseline answers it right,
and no baseline has a seed.

    chance                no score: 1 / number of options offered
    most frequent option  how many training questions have this text as their right answer
    wording prior         among training questions of the same wording: times right / times offered, shrunk to chance
    nearest picture       minus the distance of the nearest training picture of the same wording whose question has this
                          right answer; then the wording prior
    linear read-out       a ridge regression per wording from picture features; then the wording prior

Where a wording is new the wording prior gives every option the same: it is chance there. A text that was never right
has the frequency 0, and minus infinity where pictures decide. Option texts are compared with their white space
collapsed, wordings as in `wordings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmadapter.evaluation.wordings import wordings
from mmadapter.scienceqa.wording import wording

CHANCE, FREQUENT, PRIOR = "chance", "most frequent option", "wording prior"
NEAREST, NEAREST_FEATURES, READ_OUT = "nearest picture", "nearest picture (features)", "linear read-out"
"""Names of the rows."""

LEAST = 25
"""Training pictures of one wording from which the read-out is fitted; below that the wording prior answers."""
PENALTIES = np.logspace(1, 6, 11)
"""Penalties of the ridge regression; each wording has the one that leaving single training questions out finds best."""


@dataclass(frozen=True)
class Options:
    """Every option of some questions, one after the other. Q questions, O options in all."""

    pids: pd.Index
    """Q, in the frame's order."""
    question: np.ndarray
    """O integers: the row of the option's question, ascending."""
    text: np.ndarray
    """O texts."""
    wording: np.ndarray
    """O texts: of the option's question."""
    right: np.ndarray
    """O booleans: whether it is the right one."""

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Options:
        """Those of a question frame: `question`, `choices`, `answer`."""
        counts = frame["choices"].map(len).to_numpy(dtype=int)
        question = np.repeat(np.arange(len(frame)), counts)
        place = np.arange(len(question)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(
            pids=frame.index,
            question=question,
            text=np.array([wording(text) for choices in frame["choices"] for text in choices], dtype=object),
            wording=wordings(frame).to_numpy(dtype=object)[question],
            right=place == frame["answer"].to_numpy(dtype=int)[question],
        )

    def credit(self, *scores: np.ndarray) -> pd.Series:
        """The credit of each question, by pid.

        Args:
            scores: O numbers each; a later one decides among the options that share the highest earlier one.
        """
        questions = len(self.pids)
        left = np.ones(len(self.question), dtype=bool)
        for score in scores:
            best = np.full(questions, -np.inf)
            np.maximum.at(best, self.question[left], score[left])
            left &= score == best[self.question]
        count = np.bincount(self.question[left], minlength=questions)
        right = np.bincount(self.question[left & self.right], minlength=questions)
        return pd.Series(right / np.maximum(count, 1), index=self.pids, dtype=float)


def baselines(
    frame: pd.DataFrame,
    train: pd.DataFrame,
    *,
    pixels: pd.DataFrame | None = None,
    features: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The credit of every baseline that can be computed.

    Args:
        frame, train: question frames (`frame.question_frame`) of the questions scored and of the training split.
        pixels: `pictures.Pictures.grey` of both; without it no nearest picture.
        features: numbers of any kind by pid, of the pictures of both, as a tower's features; without it no nearest
            picture by features and no read-out.

    Returns:
        Indexed by pid: a column a baseline, credits from 0 to 1.
    """
    asked, seen = Options.of(frame), Options.of(train)
    prior = wording_prior(asked, seen)
    credits = {
        CHANCE: asked.credit(),
        FREQUENT: asked.credit(option_frequency(asked, seen)),
        PRIOR: asked.credit(prior),
    }
    if pixels is not None:
        credits[NEAREST] = asked.credit(nearness(asked, seen, pixels), prior)
    if features is not None:
        scaled = _standardised(features, seen.pids)
        credits[NEAREST_FEATURES] = asked.credit(nearness(asked, seen, scaled), prior)
        credits[READ_OUT] = asked.credit(read_out(asked, seen, scaled), prior)
    return pd.DataFrame(credits)


def option_frequency(asked: Options, seen: Options) -> np.ndarray:
    """Return how many training questions have each option's text as their right answer; `asked`'s O numbers."""
    counts = pd.Series(seen.text[seen.right]).value_counts()
    return pd.Series(asked.text).map(counts).fillna(0).to_numpy(dtype=float)


def wording_prior(asked: Options, seen: Options) -> np.ndarray:
    """(r + 1/n) / (o + 1) of each option; `asked`'s O numbers.

    Of the training questions of the same wording o offer its text, and in r of them it is right; n is the number of
    options of the question asked. So r/o counts with the weight of o questions and chance with that of one: a text that
    was once offered and once right does not outrank one that was right in 40 of 50, and one that was never offered
    stands at chance, above those that were offered and wrong.
    """
    training = pd.DataFrame({"wording": seen.wording, "text": seen.text, "right": seen.right})
    counts = training.groupby(["wording", "text"], sort=False)["right"].agg(["sum", "size"])
    keys = pd.MultiIndex.from_arrays([asked.wording, asked.text])
    right, offered = counts.reindex(keys).fillna(0).to_numpy(dtype=float).T
    chance = 1 / np.bincount(asked.question, minlength=len(asked.pids))[asked.question]
    return (right + chance) / (offered + 1)


def nearness(asked: Options, seen: Options, vectors: pd.DataFrame) -> np.ndarray:
    """Minus the Euclidean distance of an option's question to the nearest training question of the same wording that
    this text answers.

    Args:
        asked, seen: of the questions scored and of training.
        vectors: a row a picture, by pid; a question without a row takes no part.

    Returns:
        `asked`'s O numbers, minus infinity where there is no such training question.
    """
    from sklearn.metrics import pairwise_distances

    scores = np.full(len(asked.question), -np.inf)
    for group in _shared(asked, seen, vectors):
        distance = pairwise_distances(group.asked, group.seen)
        nearest = np.stack([distance[:, group.answer == i].min(axis=1) for i in range(len(group.answers))], axis=1)
        group.put(scores, -nearest)
    return scores


def read_out(asked: Options, seen: Options, vectors: pd.DataFrame, *, least: int = LEAST) -> np.ndarray:
    """Score each option by a ridge regression, one for every wording that training often asks.

    In training an option is 1 where it is right, -1 where it is offered and wrong, 0 where it is not offered.

    Args:
        asked, seen: of the questions scored and of training.
        vectors: a row a picture, by pid, on scales that may be compared; a question without a row takes no part.
        least: training pictures that a wording must have.

    Returns:
        `asked`'s O numbers, minus infinity where a text is never right in training or the wording is too rare.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.full(len(asked.question), -np.inf)
    for group in _shared(asked, seen, vectors):
        if len(group.seen) < least:
            continue
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(group.seen, group.offered)
        group.put(scores, model.predict(group.asked).reshape(len(group.asked), -1))
    return scores


def credit_by_class(credit: pd.Series, classes: Mapping[str, pd.Series]) -> pd.DataFrame:
    """`accuracy.accuracy_by_class` for credits, which may be fractions.

    Args:
        credit: from 0 to 1, by pid.
        classes: boolean masks by name, with the credit's index; <NA> where a question may be in the class.

    Returns:
        A row a class. `accuracy` in percent: NaN for a class without questions, and where one is unknown. `n` and
        `correct`: questions known to be in the class, and their credit. `unknown`: questions that may be in it.
        `known_accuracy`: over the n.
    """
    rows = {}
    for name, mask in classes.items():
        member = mask.fillna(False).astype(bool)
        unknown, n = int(mask.isna().sum()), int(member.sum())
        correct = float(credit[member].sum())
        known = correct / n * 100 if n else float("nan")
        rows[name] = (float("nan") if unknown else known, n, correct, unknown, known)
    columns = ["accuracy", "n", "correct", "unknown", "known_accuracy"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@dataclass(frozen=True)
class _Group:
    """The questions of one wording that have a vector. A asked and S seen in training, K different right answers."""

    asked: np.ndarray
    """A x vector."""
    seen: np.ndarray
    """S x vector."""
    answers: list[str]
    """K texts."""
    answer: np.ndarray
    """S integers below K: the right one of each training question."""
    offered: np.ndarray
    """S x K: 1 right, -1 offered and wrong, 0 not offered."""
    rows: list[list[int]]
    """A lists: the rows of the asked questions' options in their table."""
    columns: list[list[int | None]]
    """A lists: for each of those options the number of its text among the answers, None if it is none of them."""

    def put(self, scores: np.ndarray, of_answers: np.ndarray) -> None:
        """Writes A x K numbers into the scores of the options."""
        for rows, columns, values in zip(self.rows, self.columns, of_answers, strict=True):
            for row, column in zip(rows, columns, strict=True):
                if column is not None:
                    scores[row] = values[column]


def _shared(asked: Options, seen: Options, vectors: pd.DataFrame) -> list[_Group]:
    """A group for each wording that has vectors on both sides."""
    values = vectors.to_numpy()
    ours, theirs = _by_wording(asked, vectors.index), _by_wording(seen, vectors.index)
    groups = []
    for words in (words for words in ours if words in theirs):
        trained = theirs[words]
        right = [next(str(seen.text[row]) for row in rows if seen.right[row]) for _, rows in trained]
        answers = sorted(set(right))
        number = {text: i for i, text in enumerate(answers)}
        answer = np.array([number[text] for text in right])
        offered = np.zeros((len(trained), len(answers)))
        for line, (_, rows) in zip(offered, trained, strict=True):
            line[[number[seen.text[row]] for row in rows if seen.text[row] in number]] = -1
        offered[np.arange(len(trained)), answer] = 1
        groups.append(
            _Group(
                asked=values[[place for place, _ in ours[words]]],
                seen=values[[place for place, _ in trained]],
                answers=answers,
                answer=answer,
                offered=offered,
                rows=[rows for _, rows in ours[words]],
                columns=[[number.get(asked.text[row]) for row in rows] for _, rows in ours[words]],
            )
        )
    return groups


def _by_wording(options: Options, known: pd.Index) -> dict[str, list[tuple[int, list[int]]]]:
    """Return for each wording its questions that have a vector: the vector's row, and the rows of their options."""
    place = known.get_indexer(options.pids)
    own: dict[int, list[int]] = {}
    for row, question in enumerate(options.question):
        own.setdefault(int(question), []).append(row)
    groups: dict[str, list[tuple[int, list[int]]]] = {}
    for question, rows in own.items():
        if place[question] >= 0:
            groups.setdefault(options.wording[rows[0]], []).append((int(place[question]), rows))
    return groups


def _standardised(features: pd.DataFrame, train: pd.Index) -> pd.DataFrame:
    """Every feature with mean 0 and standard deviation 1 over the training pictures."""
    known = features.loc[features.index.intersection(train)]
    spread = known.std(ddof=0).replace(0, 1)
    return (features - known.mean()) / spread
