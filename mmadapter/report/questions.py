"""The questions for the page's script: one JSON text, with each lecture once."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pandas as pd

from mmadapter.report.thumbnails import Thumbnails
from mmadapter.scienceqa.problems import Dataset

MAX_OUTPUT = 1500
"""Most characters shown of a generated text."""


def questions_json(
    data: Dataset, frames: Mapping[str, pd.DataFrame], outputs: Mapping[str, pd.Series], pictures: Thumbnails
) -> str:
    """Everything that the list shows, safe inside a script element.

    Args:
        data: one split.
        frames: each system's error frame.
        outputs: each system's generated texts by pid, <NA> where there is none.
        pictures: of these questions.

    Returns:
        `{"systems": [name], "lectures": [text], "questions": [{...}]}`; a question has `pid`, `question`,
        `choices`, `answer`, `image` (a place among the pictures) and `systems`, a list each of prediction or
        null, probabilities or null, why a text did not parse, and the text; and, where they are known and not
        empty, `hint`, `grade`, `subject`, `topic`, `skill`, `lecture` (a place), `solution`, `caption`,
        `broken` (why there is no picture), `text` (whether it has a hint, left out if unknown).
    """
    lectures: dict[str, int] = {}
    answers = {
        name: zip(frame["prediction"], frame["probabilities"], frame["unparsed"], outputs[name], strict=True)
        for name, frame in frames.items()
    }
    listed = []
    for problem in data:
        said = []
        for each in answers.values():
            prediction, probabilities, unparsed, output = next(each)
            said.append(
                [
                    None if pd.isna(prediction) else int(prediction),
                    None if probabilities is None else [round(p, 4) for p in probabilities],
                    None if pd.isna(unparsed) else str(unparsed),
                    None if pd.isna(output) else _cut(str(output)),
                ]
            )
        told = {name: getattr(problem, name) for name in ("hint", "grade", "subject", "topic", "skill", "solution")}
        told["caption"] = problem.caption if problem.has_image else None
        told["broken"] = pictures.broken.get(problem.pid)
        told = {name: value for name, value in told.items() if value}
        if problem.lecture:
            told["lecture"] = lectures.setdefault(problem.lecture, len(lectures))
        if problem.has_text is not None:
            told["text"] = problem.has_text
        if problem.pid in pictures.index:
            told["image"] = pictures.index[problem.pid]
        elif problem.has_image:
            told["image"] = -1
        question = {"pid": problem.pid, "question": problem.question, "choices": problem.choices}
        listed.append({**question, "answer": problem.answer, **told, "systems": said})
    return script_json({"systems": list(frames), "lectures": list(lectures), "questions": listed})


def script_json(content: object) -> str:
    """JSON that no HTML parser takes for markup: `</script>` and `<!--` cannot occur."""
    written = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        written = written.replace(character, f"\\u{ord(character):04x}")
    return written


def _cut(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else text[:MAX_OUTPUT] + " [...]"
