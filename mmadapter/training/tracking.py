"""The training log's numbers for TensorBoard, Weights & Biases or MLflow, by accelerate's trackers.

A tracker is a second reader: the run folder's log is what a resume, a report and a table read. Trackers write into the
run's folder and stay offline, unless the user's environment names a server (`WANDB_MODE`, `MLFLOW_TRACKING_URI`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from accelerate import Accelerator

from mmadapter.config.settings import Tracker
from mmadapter.errors import require
from mmadapter.runs.folder import VariantFolder

PROJECT = "mmadapter"

Track = Callable[[Mapping[str, float], int], object]
"""Takes numbers by name, and the optimiser step they belong to."""


def check_tracker(name: Tracker | None) -> None:
    """Raise a UserError with the command that installs it if a tracker is missing."""
    if name is not None:
        require(name, extra=name, what=f"--track {name}")


def untracked(values: Mapping[str, float], step: int) -> None:
    """Take the numbers and do nothing with them."""


@contextmanager
def tracker(name: Tracker | None, folder: VariantFolder | None, done: int) -> Iterator[Track]:
    """Open a tracker in a variant's folder, close it when the block ends.

    Args:
        done: optimiser steps that an earlier part of the training has logged.

    Raises:
        UserError: it is not installed.
    """
    if name is None or folder is None:
        yield untracked
        return
    check_tracker(name)
    where, run = folder.path.resolve(), folder.run.path.resolve()
    run_name = f"{run.name}/{folder.name}"
    offline = {
        "tensorboard": {},
        "wandb": {"WANDB_MODE": "offline", "WANDB_SILENT": "true"},
        "mlflow": {"MLFLOW_TRACKING_URI": f"sqlite:///{run / 'mlflow.db'}"},
    }
    unset = {variable: value for variable, value in offline[name].items() if variable not in os.environ}
    settings = {
        "tensorboard": {"purge_step": done + 1},
        "wandb": {"dir": str(where), "name": run_name},
        "mlflow": {"logging_dir": (run / "mlflow").as_uri(), "run_name": run_name},
    }
    os.environ.update(unset)
    try:
        accelerator = Accelerator(log_with=name, project_dir=str(where))
        accelerator.init_trackers("tensorboard" if name == "tensorboard" else PROJECT, init_kwargs=settings)
        try:
            yield lambda values, step: accelerator.log(dict(values), step=step)
        finally:
            for each in accelerator.trackers:  # `end_training` would leave the process group as well
                each.finish()
    finally:
        for variable in unset:
            del os.environ[variable]
