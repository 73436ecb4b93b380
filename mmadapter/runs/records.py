"""Read what a variant's folder keeps beside its answers: settings, log, heads, controls."""

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


def read_controls(system: Predictions, stored: StoredAnswers, questions: pd.DataFrame) -> Controls | None:
    """Read the controls of a run's variant; None if its model was not asked under the conditions yet.

    Args:
        system: its answers as the table has them, perhaps read by another rule than its own.
        stored: where they lie.

    Raises:
        UserError: a damaged file.
    """
    answers = read_predictions(stored.predictions, questions).frame  # by the run's own rule, whatever the table's
    records = stored_controls(stored.controls, answers)
    return None if records is None else counted_controls(system, stored, questions, records)


def counted_controls(
    system: Predictions, stored: StoredAnswers, questions: pd.DataFrame, records: pd.DataFrame
) -> Controls:
    """Count the records, and write their summary if it is missing."""
    controls = count_controls(system.name, records, questions)
    if is_first() and not stored.controls_summary.is_file():
        scoring = "likelihood" if system.rule == LIKELIHOOD else "generate"
        about = {"questions": len(questions), "scoring": scoring}
        write_text(stored.controls_summary, json.dumps(about | controls_record(controls), indent=1) + "\n")
    return controls


def stored_controls(path: Path, answers: pd.DataFrame) -> pd.DataFrame | None:
    """Read the records in a file if they belong to these answers; None if there are none, or they are outdated.

    Raises:
        UserError: it holds anything else than one answer a condition to some of the questions.
    """
    if not path.is_file():
        return None
    records = read_table(path, CONTROL_COLUMNS)
    if missing := [column for column in CONTROL_COLUMNS if column not in records]:
        raise UserError(f"{path}: no column {', '.join(missing)}: delete it, and --controls asks again")
    known = [*CONDITIONS, *(ROTATION.format(turn) for turn in range(len(LETTERS)))]
    answer = ["condition", "pid"]
    if (
        not records["condition"].isin(known).all()
        or not records["pid"].isin(set(answers["pid"])).all()
        or not (records["prediction"].isna() | records["prediction"].isin(range(len(LETTERS)))).all()
        or records.duplicated(answer).any()
    ):
        raise UserError(f"{path}: not one answer a condition to these questions: delete it, and --controls asks again")
    records = records.astype({"condition": "string", "pid": "string", "prediction": "Int64"})
    asked = records[records["condition"] == ROTATION.format(0)].set_index("pid")["prediction"].astype("Int64")
    return records if asked.equals(answers.set_index("pid")["prediction"].astype("Int64")) else None


_T = TypeVar("_T")

STEPS_DRAWN = 200
"""Most points of the loss within epochs; more steps are averaged over neighbours."""
MAX_HEADS = 50_000
"""Most heads over all layers; LLaMA-65B has 5,120."""


@dataclass(frozen=True)
class Curve:
    """A training log."""

    epochs: pd.DataFrame
    """`epoch`, `train_loss`, `val_loss`, `val_accuracy`; NaN without validation problems."""
    steps: pd.DataFrame
    """`epoch` (fractional) and mean `loss` of neighbouring steps."""


@dataclass(frozen=True)
class HeadRecord:
    """Gates and prompt attention, as measured by `inference.prompt_attention`."""

    questions: int
    with_image: int
    adapter_len: int
    heads: pd.DataFrame
    """`layer`, `head`, `gate`, `prompts`, `image`, `effective` (number of prompts: exp of the entropy)."""


@dataclass(frozen=True)
class RunRecord:
    """A variant's records."""

    settings: str | None
    """Text of `config.yaml`."""
    curve: Curve | None
    heads: HeadRecord | None


def run_record(variant: VariantFolder) -> RunRecord:
    """Read everything that a variant's folder keeps beside its answers.

    Raises:
        UserError: one of the files is damaged.
    """
    return RunRecord(
        _read(variant.config_file, MAX_RECORD, lambda data, where: data.decode("utf-8")),
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
        [(_whole(e["epoch"]), _whole(e["step"]), *(_number(e[m]) for m in _MEASURES)) for e in entries if "epoch" in e],
        columns=["epoch", "step", *_MEASURES],
    )
    if epochs.empty:
        return None
    losses = [(_whole(entry["step"]), _number(entry["loss"])) for entry in entries if "loss" in entry]
    steps = pd.DataFrame(losses, columns=["step", "loss"])
    steps["epoch"] = steps["step"] / (epochs["step"].iloc[-1] / epochs["epoch"].iloc[-1])
    neighbours = steps.groupby(steps.index // max(1, math.ceil(len(steps) / STEPS_DRAWN)))
    return Curve(epochs[["epoch", *_MEASURES]], neighbours[["epoch", "loss"]].mean())


_MEASURES = ["train_loss", "val_loss", "val_accuracy"]


def _heads(data: bytes, where: str) -> HeadRecord:
    content = parse_json(data, where)
    if not 1 <= len(content["heads"]) <= MAX_HEADS:
        raise ValueError("number of heads")
    heads = pd.DataFrame(
        [
            (
                _whole(head["layer"], 0, MAX_HEADS),
                _whole(head["head"], 0, MAX_HEADS),
                *(_number(head[m]) for m in _OF_HEAD),
            )
            for head in content["heads"]
        ],
        columns=["layer", "head", *_OF_HEAD],
    )
    heads["effective"] = heads.pop("entropy").map(math.exp)
    questions, with_image, length = (_whole(content[key], 0) for key in ("questions", "with_image", "adapter_len"))
    return HeadRecord(questions, with_image, length, heads)


_OF_HEAD = ["gate", "prompts", "image", "entropy"]


def _whole(value: Any, low: int = 1, high: int = 10**9) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{short(value)} is no number from {low} to {high}")
    return value


def _number(value: Any) -> float:
    """A finite number; NaN where there is none or training diverged."""
    if value is None:
        return math.nan
    if type(value) not in (int, float) or 1e12 < abs(value) < math.inf:
        raise ValueError(f"{short(value)} is no number that can be drawn")
    return round(value, 12) if math.isfinite(value) else math.nan
