"""Trackers: the log's numbers reach them, offline, in the run's folder; one that is missing is told."""

import os
import sqlite3

import pytest

from mmadapter.errors import UserError
from mmadapter.runs.folder import RunFolder
from mmadapter.training.tracking import check_tracker, tracker

LOSSES = {1: 0.5, 2: 0.25, 3: 0.125}


@pytest.fixture
def variant(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.variant("text").path.mkdir(parents=True)
    run.config_file.touch()
    return run.variant("text")


def track(name, variant):
    with tracker(name, variant, 0) as tracked:
        for step, loss in LOSSES.items():
            tracked({"loss": loss}, step)
    assert not {"WANDB_MODE", "MLFLOW_TRACKING_URI"} & set(os.environ)


def test_tensorboard(variant):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    track("tensorboard", variant)
    with tracker("tensorboard", variant, 2) as tracked:  # a resume after step 2
        tracked({"loss": 0.0}, 3)
    events = EventAccumulator(str(variant.path / "tensorboard"))
    events.Reload()
    assert {event.step: event.value for event in events.Scalars("loss")} == {**LOSSES, 3: 0.0}


def test_mlflow(variant):
    pytest.importorskip("mlflow")
    track("mlflow", variant)
    with sqlite3.connect(variant.run.path / "mlflow.db") as database:
        assert dict(database.execute("select step, value from metrics where key = 'loss'")) == LOSSES
        assert database.execute("select name from runs").fetchall() == [("run/text",)]


def test_wandb(variant):
    pytest.importorskip("wandb")
    track("wandb", variant)
    (record,) = variant.path.glob("wandb/offline-run-*/run-*.wandb")
    assert record.stat().st_size > 0


def test_nothing_is_written_unless_asked(variant):
    track(None, variant)
    assert list(variant.path.iterdir()) == []


def test_a_missing_one_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--track wandb: needs wandb: pip install 'mmadapter\[wandb\]'"):
        check_tracker("wandb")
