"""The questions as the page's script reads them: one JSON text, each lecture once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from mmadapter.report.thumbnails import Thumbnails
from mmadapter.scienceqa.problems import Dataset

MAX_OUTPUT = 1500
"""Characters shown of a generated text."""


def questions_json(
    data: Dataset, frames: Mapping[str, pd.DataFrame], outputs: Mapping[str, pd.Series], pictures: Thumbnails
) -> str:
    """Return the content of the list as JSON, safe inside a script element.

    Args:
        data: one split.
        frames: each system's error frame.
        outputs: each system's generated texts by pid, <NA> if there is none.
        pictures: of these questions.

    Returns:
        `{"systems": [name], "lectures": [text], "questions": [{...}]}`. A question has `pid`, `question`, `choices`,
        `answer` and `systems`: for each, prediction, probabilities, why a text did not parse, and the text, or null.
        If known and not empty, it also has `hint`, `grade`, `subject`, `topic`, `skill`, `solution`, `caption`,
        `lecture` (an index), `text` (whether it has a hint), `image` (an index, -1 for a broken picture), `broken`.
    """
    lectures: dict[str, int] = {}
    answers = [
        map(_answer, frame["prediction"], frame["probabilities"], frame["unparsed"], outputs[name])
        for name, frame in frames.items()
    ]
    listed = []
    for problem, *systems in zip(data, *answers, strict=True):
        fields = {name: getattr(problem, name) for name in ("hint", "grade", "subject", "topic", "skill", "solution")}
        fields["caption"] = problem.caption if problem.has_image else None
        fields["broken"] = pictures.broken.get(problem.pid)
        fields = {name: value for name, value in fields.items() if value}
        if problem.lecture:
            fields["lecture"] = lectures.setdefault(problem.lecture, len(lectures))
        if problem.has_text is not None:
            fields["text"] = problem.has_text
        if problem.pid in pictures.index:
            fields["image"] = pictures.index[problem.pid]
        elif problem.has_image:
            fields["image"] = -1
        question = {"pid": problem.pid, "question": problem.question, "choices": problem.choices}
        listed.append({**question, "answer": problem.answer, **fields, "systems": systems})
    return script_json({"systems": list(frames), "lectures": list(lectures), "questions": listed})


def script_json(content: object) -> str:
    """Return JSON that no HTML parser takes for markup: `</script>` and `<!--` cannot occur in it."""
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def _answer(prediction: Any, probabilities: list[float] | None, unparsed: Any, output: Any) -> list[object]:
    return [
        None if pd.isna(prediction) else int(prediction),
        None if probabilities is None else [round(p, 4) for p in probabilities],
        None if pd.isna(unparsed) else str(unparsed),
        None if pd.isna(output) else output if len(output) <= MAX_OUTPUT else output[:MAX_OUTPUT] + " [...]",
    ]
