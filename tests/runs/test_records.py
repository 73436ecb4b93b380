"""What a run's folder keeps, read back."""

import math

import pandas as pd
import pytest

from mmadapter.errors import UserError
from mmadapter.inference.prompt_attention import PromptAttention, write_prompt_attention
from mmadapter.runs.folder import VariantFolder
from mmadapter.runs.records import STEPS_DRAWN, run_record
from mmadapter.training.log import EpochRecord, TrainingLog


@pytest.fixture
def variant(tmp_path):
    return VariantFolder(tmp_path)


def test_the_training_log(variant, tmp_path):
    log = TrainingLog(variant, 0, 0)
    for step in range(1, 1001):
        log.step(step, loss=float(step), learning_rate=1e-3, gradient_norm=1.0)
        if step % 500 == 0:
            record = {"train_loss": 1.5, "val_loss": None, "val_accuracy": None, "seconds": 1.0}
            log.epoch(EpochRecord(epoch=step // 500, step=step, **record))
    curve = run_record(variant).curve
    assert curve.epochs["epoch"].tolist() == [1, 2]
    assert curve.epochs["val_loss"].isna().all()
    assert len(curve.steps) == STEPS_DRAWN
    assert curve.steps["loss"].mean() == pytest.approx(500.5)
    assert curve.steps["loss"].iloc[0] == 3  # of steps 1 to 5
    assert curve.steps["epoch"].iloc[-1] == pytest.approx(998 / 500)


def test_gates_and_prompt_attention(variant, tmp_path):
    heads = pd.DataFrame(
        {
            "layer": [4, 4],
            "head": [0, 1],
            "gate": [0.25, -0.5],
            "prompts": [0.1, 0.2],
            "image": [math.nan, math.nan],
            "entropy": [0.0, math.log(3)],
        }
    )
    write_prompt_attention(PromptAttention(n=40, n_image=0, adapter_len=10, heads=heads), variant.prompt_attention)
    read = run_record(variant).heads
    assert (read.questions, read.with_image, read.adapter_len) == (40, 0, 10)
    assert read.heads["effective"].tolist() == pytest.approx([1, 3], abs=1e-5)
    assert read.heads["image"].isna().all()
    pd.testing.assert_frame_equal(read.heads[["layer", "head", "gate"]], heads[["layer", "head", "gate"]])


def test_a_folder_without_them(variant):
    assert run_record(variant).curve is None
    assert run_record(variant).heads is None


@pytest.mark.parametrize("name", ["log.jsonl", "attention.json"])
def test_a_damaged_file_is_named(variant, tmp_path, name):
    (tmp_path / name).write_text('{"epoch": ')
    with pytest.raises(UserError, match=f"{name}: damaged"):
        run_record(variant)
