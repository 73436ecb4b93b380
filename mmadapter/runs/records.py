"""Reads what a variant's folder holds beside its answers: controls, and for the report settings, log and heads."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import LIKELIHOOD, Predictions
from mmadapter.evaluation.reliance import (
    CONDITIONS,
    CONTROL_COLUMNS,
    ROTATION,
    Controls,
    controls_record,
    count_controls,
)
from mmadapter.runs.folder import StoredAnswers, VariantFolder
from mmadapter.scienceqa.problems import LETTERS
from mmadapter.storage.files import write_text
from mmadapter.storage.processes import is_first
from mmadapter.storage.tables import read_table
from mmadapter.storage.untrusted import MAX_BYTES, MAX_RECORD, parse_json, read_bytes, short

STEPS_DRAWN = 200
"""Maximum number of points of the loss; with more steps, each point is the mean of neighbouring ones."""
MAX_HEADS = 50_000
"""Bound on layers times heads; LLaMA-65B has 5,120."""
_EPOCH_MEASURES = ["train_loss", "val_loss", "val_accuracy"]
_HEAD_MEASURES = ["gate", "prompts", "image", "entropy"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Curve:
    """One training log."""

    epochs: pd.DataFrame
    """`epoch`, `train_loss`, `val_loss`, `val_accuracy`; NaN without validation problems."""
    steps: pd.DataFrame
    """`epoch` (fractional) and mean `loss` of neighbouring steps."""


@dataclass(frozen=True)
class HeadRecord:
    """Gates and prompt attention, as `inference.prompt_attention` measures them."""

    questions: int
    with_image: int
    adapter_len: int
    heads: pd.DataFrame
    """`layer`, `head`, `gate`, `prompts`, `image`, `effective` (number of prompts: exp of the entropy)."""


@dataclass(frozen=True)
class RunRecord:
    """One variant's record for the report; None for each file that does not exist."""

    settings: str | None
    """The text of its `config.yaml`."""
    choice_loss: float
    """Weight of the choice in its training loss; 0 without settings."""
    curve: Curve | None
    heads: HeadRecord | None


def read_controls(system: Predictions, stored: StoredAnswers, questions: pd.DataFrame) -> Controls | None:
    """Return the controls of a run's variant; None if its model was not asked under the conditions yet.

    Args:
        system: its answers in the table, which may be read by another rule than the run's own.
        stored: the files of its answers.

    Raises:
        UserError: a damaged file.
    """
    answers = read_predictions(stored.predictions, questions).frame  # by the run's own rule
    records = stored_controls(stored.controls, answers)
    return None if records is None else counted_controls(system, stored, questions, records)


def counted_controls(
    system: Predictions, stored: StoredAnswers, questions: pd.DataFrame, records: pd.DataFrame
) -> Controls:
    """Count the controls, and write the counts beside them if they are missing there."""
    controls = count_controls(system.name, records, questions)
    if is_first() and not stored.controls_summary.is_file():
        scoring = "likelihood" if system.rule == LIKELIHOOD else "generate"
        about = {"questions": len(questions), "scoring": scoring}
        write_text(stored.controls_summary, json.dumps(about | controls_record(controls), indent=1) + "\n")
    return controls


def stored_controls(path: Path, answers: pd.DataFrame) -> pd.DataFrame | None:
    """Read the controls in a file; None if it does not exist, or if the answers have changed since.

    Raises:
        UserError: it holds anything but one answer to some of the questions under each condition.
    """
    if not path.is_file():
        return None
    records = read_table(path, CONTROL_COLUMNS)
    if missing := [column for column in CONTROL_COLUMNS if column not in records]:
        raise UserError(f"{path}: no column {', '.join(missing)}: delete it, and --controls asks again")
    known = [*CONDITIONS, *(ROTATION.format(turn) for turn in range(len(LETTERS)))]
    if (
        not records["condition"].isin(known).all()
        or not records["pid"].isin(set(answers["pid"])).all()
        or not (records["prediction"].isna() | records["prediction"].isin(range(len(LETTERS)))).all()
        or records.duplicated(["condition", "pid"]).any()
    ):
        raise UserError(f"{path}: not one answer a condition to these questions: delete it, and --controls asks again")
    records = records.astype({"condition": "string", "pid": "string", "prediction": "Int64"})
    as_asked = records[records["condition"] == ROTATION.format(0)].set_index("pid")["prediction"]
    return records if as_asked.equals(answers.set_index("pid")["prediction"].astype("Int64")) else None


def run_record(variant: VariantFolder) -> RunRecord:
    """Read a variant's settings, training log and heads.

    Raises:
        UserError: one of the files is damaged.
    """
    return RunRecord(
        _read(variant.config_file, MAX_RECORD, lambda data, where: data.decode("utf-8")),
        float(variant.config.choice_loss) if variant.config_file.is_file() else 0.0,
        _read(variant.log, MAX_BYTES, _curve),
        _read(variant.prompt_attention, MAX_RECORD, _heads),
    )


def _read(file: Path, at_most: int, parse: Callable[[bytes, str], _T]) -> _T | None:
    if not file.is_file():
        return None
    try:
        return parse(read_bytes(file, at_most), str(file))
    except (UserError, ValueError, KeyError, TypeError, OverflowError) as error:
        reason = str(error).splitlines()[0].removeprefix(f"{file}: ")[:100]
        raise UserError(f"{file}: damaged ({reason}): move it away to have a report without it") from error


def _curve(data: bytes, where: str) -> Curve | None:
    entries = [parse_json(line, where, line=number) for number, line in enumerate(data.splitlines(), start=1)]
    epochs = pd.DataFrame(
        [
            (_whole(entry["epoch"]), _whole(entry["step"]), *(_number(entry[name]) for name in _EPOCH_MEASURES))
            for entry in entries
            if "epoch" in entry
        ],
        columns=["epoch", "step", *_EPOCH_MEASURES],
    )
    if epochs.empty:
        return None
    losses = [(_whole(entry["step"]), _number(entry["loss"])) for entry in entries if "loss" in entry]
    steps = pd.DataFrame(losses, columns=["step", "loss"])
    steps["epoch"] = steps["step"] / (epochs["step"].iloc[-1] / epochs["epoch"].iloc[-1])
    neighbours = steps.groupby(steps.index // max(1, math.ceil(len(steps) / STEPS_DRAWN)))
    return Curve(epochs.drop(columns="step"), neighbours[["epoch", "loss"]].mean())


def _heads(data: bytes, where: str) -> HeadRecord:
    content = parse_json(data, where)
    if not 1 <= len(content["heads"]) <= MAX_HEADS:
        raise ValueError("number of heads")
    rows = [
        (*(_whole(head[key], 0, MAX_HEADS) for key in ("layer", "head")), *(_number(head[m]) for m in _HEAD_MEASURES))
        for head in content["heads"]
    ]
    heads = pd.DataFrame(rows, columns=["layer", "head", *_HEAD_MEASURES])
    heads["effective"] = heads.pop("entropy").map(math.exp)
    questions, with_image, length = (_whole(content[key], 0) for key in ("questions", "with_image", "adapter_len"))
    return HeadRecord(questions, with_image, length, heads)


def _whole(value: Any, low: int = 1, high: int = 10**9) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{short(value)} is not a whole number from {low} to {high}")
    return value


def _number(value: Any) -> float:
    """Return NaN for null, and for the infinite values of a training that diverged."""
    if value is None:
        return math.nan
    if type(value) not in (int, float) or 1e12 < abs(value) < math.inf:
        raise ValueError(f"{short(value)} is not a number that can be drawn")
    return round(value, 12) if math.isfinite(value) else math.nan
