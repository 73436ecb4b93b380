"""Answers kept batch by batch, so that an interrupted evaluation goes on after its last batch."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import PREDICTION_DTYPES
from mmadapter.storage.files import write_errors, write_text, write_whole

ANSWERS_KEY = "answers_of"
"""Name of the key in a stored frame's attributes and in the first line of unfinished answers."""


def unfinished(file: Path) -> Path:
    """Return the file of the answers until all of them can be written to `file`."""
    return file.with_name(f"{file.stem}-unfinished.jsonl")


class Journal:
    """A file of answers, or until all are there one JSON object a batch beside it: `{index: answer}`.

    Args:
        file: a parquet file.
        key: hash of everything that decides the answers; answers under another key are not used.
    """

    def __init__(self, file: Path, key: str) -> None:
        self._file, self._unfinished, self._key = file, unfinished(file), key

    def read(self) -> tuple[pd.DataFrame | None, dict[int, dict]]:
        """Return all answers; or None and those of an evaluation that did not end, by index.

        Raises:
            UserError: the unfinished answers are damaged.
        """
        if (stored := self._stored()) is not None:
            self._unfinished.unlink(missing_ok=True)  # killed after the last answer
            return stored, {}
        rows: dict[int, dict] = {}
        kept = head = json.dumps({ANSWERS_KEY: self._key}) + "\n"
        lines = self._unfinished.read_bytes().splitlines(keepends=True) if self._unfinished.exists() else []
        for line in lines[1:] if lines[:1] == [head.encode()] else ():
            if not line.endswith(b"\n"):  # killed while writing it
                break
            try:
                rows |= {int(index): row for index, row in json.loads(line).items()}
            except (ValueError, AttributeError) as error:
                raise UserError(
                    f"{self._unfinished}: damaged ({error})\n  delete it to ask all questions again"
                ) from error
            kept += line.decode()
        write_text(self._unfinished, kept)
        return None, rows

    def add(self, rows: dict[int, dict]) -> None:
        """Append the answers of a batch."""
        with write_errors(self._unfinished), self._unfinished.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")

    def finish(self, answers: pd.DataFrame) -> None:
        """Write all answers and delete the unfinished ones."""
        answers.attrs[ANSWERS_KEY] = self._key
        write_whole(self._file, answers.to_parquet)
        self._unfinished.unlink()

    def _stored(self) -> pd.DataFrame | None:
        """Return the finished answers; None if there are none, they have another key, or the file is damaged."""
        try:
            answers = pd.read_parquet(self._file)
        except (OSError, ValueError):  # pyarrow raises them for a damaged file too
            return None
        if answers.attrs.get(ANSWERS_KEY) != self._key:
            return None
        answers["probabilities"] = [None if found is None else found.tolist() for found in answers["probabilities"]]
        return answers.astype(PREDICTION_DTYPES)
