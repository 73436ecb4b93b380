"""One system's answers as a frame."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

AS_FILED = "as filed"
"""Rule of a file of indices: whatever its producer used."""
LIKELIHOOD = "likelihood"
"""Rule of a prediction without text: the most probable option."""
OPTION_TEXT = "option text"
"""Rule of a run that generates an option's text: it must be written exactly as offered."""
DEFAULT_RULE = "strict"
GENERATED_RULE = {"letter": DEFAULT_RULE, "text": OPTION_TEXT, "response": OPTION_TEXT}
"""Rule for a generated text, by the form of answer that the model was taught."""

PREDICTION_DTYPES = {
    "prediction": "Int64",
    "output": "string",
    "unparsed": "string",
    "probabilities": "object",
    "prompt_tokens": "Int64",
    "truncated": "boolean",
}
"""Columns of a predictions frame beside `pid` (string)."""


@dataclass(frozen=True)
class Predictions:
    """One system's answers to the questions of a split."""

    name: str
    frame: pd.DataFrame
    """`pid` and the `PREDICTION_DTYPES`, one row a question, in the questions' order."""
    rule: str
    """A name in `rules.RULES`, `AS_FILED`, `LIKELIHOOD` or `OPTION_TEXT`."""
    source: str
    """The file's name, for people."""


def predictions_frame(pid: list[str], **columns: object) -> pd.DataFrame:
    """Build a predictions frame from the given columns; the others are <NA>."""
    frame = pd.DataFrame({"pid": pd.array(pid, dtype="string")})
    for column, dtype in PREDICTION_DTYPES.items():
        values = columns.get(column)
        frame[column] = pd.array([None] * len(pid) if values is None else values, dtype=dtype)
    return frame
