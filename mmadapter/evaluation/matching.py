"""The question of a split that each entry of a log answers.

By the question's id where the log has one; by its number where that is the row of the split, or of its questions with a
picture; else by its words: question, options and, where the log has it, the hint, with white space collapsed. Ids and
rows count only if the words that the log has are theirs for every entry. Questions that share all their words differ by
their picture alone, which no log holds: without rows they are paired in the order of log and split, where a log answers
all of them, or all that have a picture. They are counted. What the log says of the right options is held against ours:
an entry with the wrong question shows up there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import some
from mmadapter.evaluation.logs import Entry
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.scienceqa.wording import wording

LETTERED = ("{}. {}", "({}) {}", "{}) {}", "{}: {}")
"""How prompts show an option."""


class Matched(NamedTuple):
    """A log's answers to the questions of a split."""

    frame: pd.DataFrame
    """A predictions frame; a prediction by likelihood or by the harness is an option of the question."""
    turned: Mapping[str, Sequence[int]]
    """Where the log has the options in another order, by pid: the place of each among the question's."""
    notes: tuple[str, ...]
    """On matches that are less than certain."""


class Words(NamedTuple):
    """A question's texts, by which logs are matched; white space is collapsed."""

    question: str
    options: tuple[str, ...]
    hint: str | None
    """None where it is unknown, or not compared."""

    def in_any_order(self) -> Hashable:
        """Return what questions with the same options share."""
        return self.question, frozenset(self.options), self.hint


def match(entries: Sequence[Entry], questions: pd.DataFrame, where: str) -> Matched:
    """Find the question of every entry.

    Args:
        entries: of one log.
        questions: `frame.question_frame` of the split.
        where: the log, for messages.

    Raises:
        UserError: an entry whose question is not found or is one of several; a question with two entries; likelihoods
            of other options; right options that are not ours.
    """
    if not entries:
        raise UserError(f"{where}: no answers")
    found, in_order = _pids(entries, questions, where)
    if double := [pid for pid, times in Counter(found).items() if times > 1]:
        raise UserError(f"{where}: {len(double)} questions have more than one answer: {some(double)}")
    orders = [_order(entry, questions.at[pid, "choices"]) for entry, pid in zip(entries, found, strict=True)]
    lost = [
        entry.where
        for entry, order in zip(entries, orders, strict=True)
        if order is None or len(entry.probabilities or order) != len(order) or (entry.chosen or 0) >= len(order)
    ]
    if lost:
        raise UserError(f"{where}: {len(lost)} answers are to other options: {some(lost)}")
    places = [order for order in orders if order is not None]
    wrong = [
        entry.where
        for entry, order, pid in zip(entries, places, found, strict=True)
        if entry.target is not None and order[entry.target : entry.target + 1] != [questions.at[pid, "answer"]]
    ]
    if wrong:
        raise UserError(
            f"{where}: {len(wrong)} of {len(entries)} entries name another right option than the question that they "
            f"match: {some(wrong)}\n  the log is of other questions, or of these in another order"
        )
    turned = {pid: order for pid, order in zip(found, places, strict=True) if order != sorted(order)}
    notes = []
    if in_order:
        notes.append(f"{where}: {in_order} answers were matched by their order among questions of the same words")
    if turned:
        notes.append(f"{where}: {len(turned)} answers are to options in another order, and were mapped by their texts")
    return Matched(_frame(entries, found, places), turned, tuple(notes))


def _pids(entries: Sequence[Entry], questions: pd.DataFrame, where: str) -> tuple[list[str], int]:
    """Return each entry's question, and how many were found by their order."""
    columns = (questions[name] for name in ("question", "choices", "hint"))
    words = {pid: _words(*texts) for pid, *texts in zip(questions.index, *columns, strict=True)}
    named = [entry.pid for entry in entries if entry.pid in words and _asks(entry, words[entry.pid])]
    if len(named) == len(entries):
        return [str(pid) for pid in named], 0
    fitting = []
    for order in (list(words), list(questions.index[questions["has_image"]])):
        at = [order[entry.row] if entry.row is not None and 0 <= entry.row < len(order) else None for entry in entries]
        pids = [pid for entry, pid in zip(entries, at, strict=True) if pid and _asks(entry, words[pid], told=True)]
        if len(pids) == len(entries) and pids not in fitting:
            fitting.append(pids)
    if len(fitting) == 1:
        times = Counter(words.values())
        return fitting[0], sum(times[words[pid]] > 1 for pid in fitting[0])
    return _by_words(entries, questions, words, where)


def _by_words(
    entries: Sequence[Entry], questions: pd.DataFrame, words: Mapping[str, Words], where: str
) -> tuple[list[str], int]:
    with_hint = None not in {entry.hint for entry in entries} | {texts.hint for texts in words.values()}
    ours: dict[Hashable, list[str]] = {}
    for pid, texts in words.items():
        texts = texts if with_hint else texts._replace(hint=None)
        for key in (texts, texts.in_any_order()):
            if pid not in (pids := ours.setdefault(key, []))[-1:]:
                pids.append(pid)
    groups: dict[Hashable, list[int]] = {}
    rows = [entry.row for entry in entries if entry.row is not None]
    by_row = len(rows) == len(entries)  # several processes write their parts of a log one after the other
    for number in sorted(range(len(entries)), key=rows.__getitem__ if by_row else None):
        entry = entries[number]
        asked = _words(entry.question or entry.prompt or "", entry.options, entry.hint if with_hint else None)
        groups.setdefault(asked if asked in ours else asked.in_any_order(), []).append(number)
    unknown = [entries[number].where for key, numbers in groups.items() if key not in ours for number in numbers]
    if unknown:
        told = f"{len(unknown)} of {len(entries)} answers are to no question of this split"
        raise UserError(f"{where}: {told}: {some(unknown)}")
    found, in_order, unsure = [""] * len(entries), 0, []
    for key, numbers in groups.items():
        candidates = ours[key]
        if len(candidates) != len(numbers):
            candidates = [pid for pid in candidates if questions.at[pid, "has_image"]]
        if len(candidates) != len(numbers):
            unsure += [entries[number].where for number in numbers]
            continue
        in_order += len(numbers) if len(ours[key]) > 1 else 0
        for number, pid in zip(numbers, candidates, strict=True):
            found[number] = pid
    if unsure:
        raise UserError(
            f"{where}: {len(unsure)} answers are to one of several questions of the same words, and the log has not as "
            f"many: {some(unsure)}\n  a log that holds the questions' pids can be scored"
        )
    return found, in_order


def _words(question: str, options: Sequence[str], hint: object) -> Words:
    return Words(wording(question), tuple(map(wording, options)), wording(hint) if isinstance(hint, str) else None)


def _asks(entry: Entry, words: Words, *, told: bool = False) -> bool:
    """Tell whether the texts that an entry has are those of a question; if it must be `told`, it needs some."""
    if entry.options and sorted(map(wording, entry.options)) != sorted(words.options):
        return False
    if entry.question is not None:
        return wording(entry.question) == words.question and (
            entry.hint is None or words.hint in (None, wording(entry.hint))
        )
    if entry.prompt is None:
        return not told
    prompt, lettered = wording(entry.prompt), list(zip(LETTERS, words.options, strict=False))
    shown = bool(entry.options) or any(" ".join(form.format(*each) for each in lettered) in prompt for form in LETTERED)
    return shown and words.question in prompt


def _order(entry: Entry, choices: Sequence[str]) -> list[int] | None:
    """Return the place of each of the log's options among the question's; None if they are others."""
    if not entry.options:
        return list(range(len(choices)))
    ours, theirs = [wording(text) for text in choices], [wording(text) for text in entry.options]
    if ours == theirs:
        return list(range(len(ours)))
    if sorted(ours) != sorted(theirs) or len(set(ours)) < len(ours):
        return None
    return [ours.index(text) for text in theirs]


def _frame(entries: Sequence[Entry], pids: Sequence[str], orders: Sequence[Sequence[int]]) -> pd.DataFrame:
    predictions, probabilities = [], []
    for entry, order in zip(entries, orders, strict=True):
        predictions.append(None if entry.chosen is None else order[entry.chosen])
        shares = entry.probabilities
        probabilities.append(None if shares is None else [shares[order.index(place)] for place in range(len(order))])
    texts = [entry.text for entry in entries]
    return predictions_frame(
        list(pids),
        prediction=predictions,
        output=texts if any(text is not None for text in texts) else None,
        unparsed=[entry.unparsed for entry in entries],
        probabilities=probabilities,
    )
