"""What the folder of a trained variant keeps beside its predictions, each part where it is there."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.predictions import Predictions

STEPS_DRAWN = 200
"""Points of the loss within epochs: a mean over neighbours where there are more steps."""


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
        _read(folder / "config.yaml", str),
        _read(folder / "log.jsonl", _curve),
        _read(folder / "attention.json", _heads),
    )


def _read(file: Path, parse):
    if not file.is_file():
        return None
    try:
        return parse(file.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: damaged ({error}): move it away to have a report without it") from error


def _curve(text: str) -> Curve | None:
    entries = [json.loads(line) for line in text.splitlines()]
    epochs = pd.DataFrame([entry for entry in entries if "epoch" in entry])
    if epochs.empty:
        return None
    measures = ["train_loss", "val_loss", "val_accuracy"]
    epochs[measures] = epochs[measures].astype(float)
    steps = pd.DataFrame([entry for entry in entries if "loss" in entry], columns=["step", "loss"])
    steps["epoch"] = steps["step"] / (epochs["step"].iloc[-1] / epochs["epoch"].iloc[-1])
    neighbours = steps.groupby(steps.index // max(1, math.ceil(len(steps) / STEPS_DRAWN)))
    return Curve(epochs[["epoch", *measures]], neighbours[["epoch", "loss"]].mean())


def _heads(text: str) -> HeadRecord:
    content = json.loads(text)
    heads = pd.DataFrame(content["heads"]).astype({"layer": int, "head": int, "image": float})
    heads["effective"] = heads.pop("entropy").map(math.exp)
    return HeadRecord(content["questions"], content["with_image"], content["adapter_len"], heads)
