"""What the folder of a trained variant keeps beside its predictions, each part where it is there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import Predictions
from mmadapter.untrusted import MAX_BYTES, MAX_RECORD, parse_json, read_bytes, short

_T = TypeVar("_T")

STEPS_DRAWN = 200
"""Points of the loss within epochs: a mean over neighbours where there are more steps."""
MAX_HEADS = 50_000
"""Layers times heads; LLaMA-65B's 80 layers have 5,120."""


@dataclass(frozen=True)
class Curve:
    """One training log."""

    epochs: pd.DataFrame
    """`epoch`, `train_loss`, `val_loss`, `val_accuracy`; NaN without validation problems."""
    steps: pd.DataFrame
    """`epoch` (fractional) and mean `loss` of neighbouring steps."""


@dataclass(frozen=True)
class HeadRecord:
    """Gates and prompt attention, as `evaluation.attention` measured them."""

    questions: int
    with_image: int
    adapter_len: int
    heads: pd.DataFrame
    """`layer`, `head`, `gate`, `prompts`, `image`, `effective` (number of prompts: exp of the entropy)."""


@dataclass(frozen=True)
class RunRecord:
    """Of one system."""

    settings: str | None
    """Its `config.yaml`."""
    curve: Curve | None
    heads: HeadRecord | None


def run_record(system: Predictions) -> RunRecord | None:
    """What lies beside a system's predictions; None for predictions that no run of ours made.

    Raises:
        UserError: one of the files is damaged.
    """
    file = Path(system.source)
    folder = file.parent
    if not ((folder / "adapter_config.json").is_file() and file.name.startswith("predictions")):
        return None
    return RunRecord(
        _read(folder / "config.yaml", MAX_RECORD, lambda data, where: data.decode("utf-8")),
        _read(folder / "log.jsonl", MAX_BYTES, _curve),
        _read(folder / "attention.json", MAX_RECORD, _heads),
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
    """NaN where there is none, or a training that went astray had no finite one."""
    if value is None:
        return math.nan
    if type(value) not in (int, float) or 1e12 < abs(value) < math.inf:
        raise ValueError(f"{short(value)} is no number that can be drawn")
    return round(value, 12) if math.isfinite(value) else math.nan
