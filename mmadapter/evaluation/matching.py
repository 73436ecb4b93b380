"""The question of a split that each entry of a log answers.

By the question's id where the log has one; else by its words: question, options and, where the log has it, the hint,
with white space collapsed. Questions that share all their words differ by their picture alone, which no log holds:
where a log answers all of them, or all that have a picture, they are paired in the order of log and split, and
counted. What the log says of the right options is held against ours: an entry with the wrong question shows up there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.frame import some
from mmadapter.evaluation.logs import Entry
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.scienceqa.wording import wording


def match(entries: Sequence[Entry], questions: pd.DataFrame, where: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Find the question of every entry.

    Args:
        entries: of one log.
        questions: `frame.question_frame` of the split.
        where: the log, for messages.

    Returns:
        A predictions frame, and notes on matches that are less than certain.

    Raises:
        UserError: an entry whose question is not found or is one of several; a question with two entries; options in
            another order under a text, whose letters would mean something else; right options that are not ours.
    """
    if not entries:
        raise UserError(f"{where}: no answers")
    found, in_order = _pids(entries, questions, where)
    if double := [pid for pid, times in Counter(found).items() if times > 1]:
        raise UserError(f"{where}: {len(double)} questions have more than one answer: {some(double)}")
    turns = [_order(entry, questions.at[pid, "choices"]) for entry, pid in zip(entries, found, strict=True)]
    lost = [  # a letter in a text means an option of the log's order
        entry.where
        for entry, turn in zip(entries, turns, strict=True)
        if turn is None
        or (entry.text is not None and turn != sorted(turn))
        or (entry.probabilities is not None and len(entry.probabilities) != len(turn))
    ]
    if lost:
        raise UserError(f"{where}: {len(lost)} answers are to other options, or in another order: {some(lost)}")
    ordered = [turn for turn in turns if turn is not None]
    wrong = [
        entry.where
        for entry, turn, pid in zip(entries, ordered, found, strict=True)
        if entry.target is not None and (entry.target >= len(turn) or turn[entry.target] != questions.at[pid, "answer"])
    ]
    if wrong:
        raise UserError(
            f"{where}: {len(wrong)} of {len(entries)} entries name another right option than the question that they "
            f"match: {some(wrong)}\n  the log is of other questions, or of these in another order"
        )
    turned = sum(turn != sorted(turn) for turn in ordered)
    notes = []
    if in_order:
        notes.append(f"{where}: {in_order} answers were matched by their order among questions of the same words")
    if turned:
        notes.append(f"{where}: {turned} answers are to options in another order, and were mapped by their texts")
    return _frame(entries, found, ordered), tuple(notes)


def _pids(entries: Sequence[Entry], questions: pd.DataFrame, where: str) -> tuple[list[str], int]:
    """Return each entry's question, and how many were found by their order."""
    if all(entry.pid in questions.index for entry in entries):
        return [str(entry.pid) for entry in entries], 0
    with_hint = all(entry.hint is not None for entry in entries)
    ours: dict[Hashable, list[str]] = {}
    columns = [questions[name] for name in ("question", "choices", "hint")]
    for pid, question, choices, hint in zip(questions.index, *columns, strict=True):
        words = _words(question, choices, hint if with_hint else "")
        for key in {words, _in_any_order(words)}:
            ours.setdefault(key, []).append(pid)
    groups: dict[Hashable, list[int]] = {}
    for number, entry in enumerate(entries):
        asked = _words(entry.question or "", entry.options, entry.hint if with_hint else "")
        groups.setdefault(asked if asked in ours else _in_any_order(asked), []).append(number)
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


def _words(question: str, options: Sequence[str], hint: object) -> tuple[str, tuple[str, ...], str]:
    return wording(question), tuple(map(wording, options)), wording(hint) if isinstance(hint, str) else ""


def _in_any_order(words: tuple[str, tuple[str, ...], str]) -> Hashable:
    question, options, hint = words
    return question, frozenset(options), hint


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
        probabilities=probabilities,
    )
