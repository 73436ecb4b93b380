"""The training log: JSON lines, and the same numbers for TensorBoard."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mmadapter.files import write_text

LOG_FILE = "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch, as the log has it."""

    epoch: int
    """From 1."""
    step: int
    """Optimiser steps done at its end."""
    train_loss: float
    """Nats an answer token, over the epoch."""
    val_loss: float | None
    val_accuracy: float | None
    """Percent; None without validation problems."""
    seconds: float
    """Of this process' training so far; starts again at a resume."""


class TrainingLog:
    """Appends one JSON object a line: `{"step": ...}` every step, `{"epoch": ...}` every epoch."""

    def __init__(self, folder: Path | None, step: int, *, tensorboard: bool = False) -> None:
        """
        Args:
            folder: where `log.jsonl` lies; None keeps the epochs in memory only.
            step: where the training stands: lines of later steps, which will be done again, are dropped.
        """
        self.epochs: list[EpochRecord] = []
        self._path = folder / LOG_FILE if folder is not None else None
        self._board = None
        if self._path is not None:
            self._keep_until(step)
            if tensorboard:
                from torch.utils.tensorboard import SummaryWriter  # seconds to import

                self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step)

    def step(self, step: int, *, loss: float, learning_rate: float, gradient_norm: float) -> None:
        """One optimiser step; the loss is in nats an answer token."""
        self._write({"step": step, "loss": loss, "learning_rate": learning_rate, "gradient_norm": gradient_norm})

    def epoch(self, record: EpochRecord) -> None:
        """The end of an epoch."""
        self.epochs.append(record)
        self._write(asdict(record))

    def _keep_until(self, step: int) -> None:
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True) if self._path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        self.epochs = [EpochRecord(**entry) for entry in map(json.loads, kept) if "epoch" in entry]
        write_text(self._path, "".join(kept))

    def _write(self, entry: dict) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name, value in entry.items():
                if name not in ("step", "epoch") and value is not None:
                    self._board.add_scalar(name, value, entry["step"])
            self._board.flush()
