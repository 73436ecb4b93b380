"""Keep answers batch by batch, so that a killed evaluation goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import PREDICTION_DTYPES
from mmadapter.storage.files import write_errors, write_text, write_whole

ANSWERS_KEY = "answers_of"
"""Name of the hash of everything that decides the answers, in a stored frame's attributes."""


def unfinished(file: Path) -> Path:
    """The journal of answers until all of them can be written to `file`."""
    return file.with_name(f"{file.stem}-unfinished.jsonl")


def kept_answers(file: Path, journal: Journal) -> tuple[pd.DataFrame | None, dict[int, dict]]:
    """All answers, or those of an unfinished evaluation."""
    if (stored := _stored_answers(file, journal.key)) is not None:
        unfinished(file).unlink(missing_ok=True)  # killed after its last answer
        return stored, {}
    return None, journal.read()


def keep_answers(file: Path, frame: pd.DataFrame, key: str) -> None:
    frame.attrs[ANSWERS_KEY] = key
    write_whole(file, frame.to_parquet)
    unfinished(file).unlink()


def _stored_answers(file: Path, key: str) -> pd.DataFrame | None:
    """The answers in a file if they have this key; None for another model's and for a damaged file."""
    try:
        frame = pd.read_parquet(file)
    except (OSError, ValueError):  # pyarrow's errors of a damaged file among them
        return None
    if frame.attrs.get(ANSWERS_KEY) != key:
        return None
    frame["probabilities"] = [None if found is None else found.tolist() for found in frame["probabilities"]]
    return frame.astype(PREDICTION_DTYPES)


class Journal:
    """Answered batches, a JSON object a line: `{index: answer}`; the first line holds the key."""

    def __init__(self, path: Path, key: str) -> None:
        self._path, self.key = path, key

    def read(self) -> dict[int, dict]:
        """Read the answers by index, dropping those of another key.

        Raises:
            UserError: it is damaged.
        """
        rows: dict[int, dict] = {}
        kept = head = json.dumps({ANSWERS_KEY: self.key}) + "\n"
        if self._path.exists():
            lines = self._path.read_bytes().splitlines(keepends=True)
            for line in lines[1:] if lines[:1] == [head.encode()] else ():
                if not line.endswith(b"\n"):  # killed while it was written
                    break
                try:
                    rows |= {int(index): row for index, row in json.loads(line).items()}
                except (ValueError, AttributeError) as error:
                    raise UserError(f"{self._path}: damaged ({error})\n  delete it: all is asked again") from error
                kept += line.decode()
        write_text(self._path, kept)
        return rows

    def add(self, rows: dict[int, dict]) -> None:
        """Append a batch."""
        with write_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rows) + "\n")
