"""The training log."""

import errno
import json
import os

import pytest

from mmadapter.errors import UserError
from mmadapter.runs.folder import VariantFolder
from mmadapter.training.log import EpochRecord, TrainingLog


def record(epoch: int, step: int) -> EpochRecord:
    return EpochRecord(epoch=epoch, step=step, train_loss=1.5, val_loss=None, val_accuracy=None, seconds=0.1)


def fill(log: TrainingLog, steps: range) -> None:
    for step in steps:
        log.step(step, loss=1.0 / step, learning_rate=0.1, gradient_norm=2.0)
        if step % 2 == 0:
            log.epoch(record(step // 2, step))


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_resume_drops_what_will_be_done_again(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    fill(TrainingLog(VariantFolder(whole), 0, 0), range(1, 7))
    fill(TrainingLog(VariantFolder(parts), 0, 0), range(1, 6))
    with (parts / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # killed while it wrote
    resumed = TrainingLog(VariantFolder(parts), 3, 1)
    assert resumed.epochs == [record(1, 2)]
    fill(resumed, range(4, 7))
    assert (parts / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()
    assert [epoch.epoch for epoch in resumed.epochs] == [1, 2, 3]


def test_an_epoch_whose_end_was_logged_but_not_saved_is_not_logged_twice(tmp_path):
    fill(TrainingLog(VariantFolder(tmp_path), 0, 0), range(1, 5))
    whole = (tmp_path / "log.jsonl").read_text()
    resumed = TrainingLog(VariantFolder(tmp_path), 4, 1)  # saved after step 4, before the validation that ends epoch 2
    assert resumed.epochs == [record(1, 2)]
    resumed.epoch(record(2, 4))
    assert (tmp_path / "log.jsonl").read_text() == whole


def test_a_damaged_log_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n\x00\x00\n')
    with pytest.raises(UserError, match=r"log\.jsonl: damaged .*\n  move it away"):
        TrainingLog(VariantFolder(tmp_path), 3, 1)


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    log = TrainingLog(VariantFolder(tmp_path), 0, 0)
    monkeypatch.setattr("json.dumps", full_disk)
    with pytest.raises(UserError, match=r"log\.jsonl: cannot be written: No space left on device"):
        log.step(1, loss=1.0, learning_rate=0.1, gradient_norm=2.0)


def test_a_tracker_gets_the_same_numbers(tmp_path):
    told = []
    fill(TrainingLog(VariantFolder(tmp_path), 0, 0, lambda values, step: told.append((step, values))), range(1, 5))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    known = [{name: x for name, x in line.items() if x is not None} for line in lines]
    assert [{"step": step, **values} for step, values in told] == [
        {name: x for name, x in line.items() if name != "epoch"} for line in known
    ]


def test_without_a_folder_the_epochs_are_kept_in_memory():
    log = TrainingLog(None, 0, 0)
    fill(log, range(1, 5))
    assert log.epochs == [record(1, 2), record(2, 4)]
