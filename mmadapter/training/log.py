"""The training log: JSON lines, and the same numbers for a tracker."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.runs.folder import VariantFolder
from mmadapter.storage.files import write_errors, write_text
from mmadapter.training.tracking import Track, untracked


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch in the log."""

    epoch: int
    """From 1."""
    step: int
    """Optimiser steps done at its end."""
    train_loss: float
    """Nats an answer token, over the epoch."""
    val_loss: float | None
    val_accuracy: float | None
    """Percent; None without validation problems that have options."""
    seconds: float
    """Training time of this process so far; a resume starts again from 0."""


class TrainingLog:
    """Appends one JSON object a line: `{"step": ...}` every step, `{"epoch": ...}` every epoch."""

    def __init__(self, folder: VariantFolder | None, step: int, epoch: int, track: Track = untracked) -> None:
        """
        Args:
            folder: None keeps only the epochs, in memory.
            step, epoch: how many are done; later lines, which a resume writes again, are dropped.
            track: gets the numbers of every line too.

        Raises:
            UserError: the log is damaged or cannot be written.
        """
        self.epochs: list[EpochRecord] = []
        self._path = folder.log if folder is not None else None
        self._track = track
        if folder is not None:
            self._keep_until(folder.log, step, epoch)

    def step(self, step: int, *, loss: float, learning_rate: float, gradient_norm: float) -> None:
        """Log an optimiser step; the loss is in nats an answer token."""
        self._write({"step": step, "loss": loss, "learning_rate": learning_rate, "gradient_norm": gradient_norm})

    def epoch(self, record: EpochRecord) -> None:
        """Log the end of an epoch."""
        self.epochs.append(record)
        self._write(asdict(record))

    def sync(self) -> None:
        """Wait for the disk: after a power failure the log must be at least as far as a checkpoint."""
        if self._path is not None:
            with write_errors(self._path), self._path.open("a") as file:
                os.fsync(file.fileno())

    def _keep_until(self, path: Path, step: int, epoch: int) -> None:
        kept = ""
        try:
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else ():
                if not line.endswith("\n"):  # killed while writing it
                    break
                entry = json.loads(line)
                if entry["step"] > step or entry.get("epoch", 0) > epoch:
                    break
                kept += line
                if "epoch" in entry:
                    self.epochs.append(EpochRecord(**entry))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error})\n  move it away: the training goes on without it") from error
        write_text(path, kept)

    def _write(self, entry: dict) -> None:
        if self._path is not None:
            with write_errors(self._path), self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
        numbers = {name: value for name, value in entry.items() if name not in ("step", "epoch") and value is not None}
        self._track(numbers, entry["step"])
