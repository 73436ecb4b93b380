"""Settings of `--preset small` compared without a look at the test split.

    python -m eval.choose --data-dir DIR --config settings.yaml    # one setting a line, as in config.yaml

Trains the multimodal adapter without 1,000 of the training problems that have an image, and asks it these and those of
the val split. Adds what it found to eval/results/choices.json, and writes RESULTS.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import provenance
from eval.results import FOLDER
from eval.runs import run_key, told_settings, wordings
from mmadapter.backbone.device import resolve_device, resolve_dtype
from mmadapter.backbone.loading import load_llm
from mmadapter.cli.options import program
from mmadapter.config.files import read_settings
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import Recipe, RunConfig
from mmadapter.data import load_dataset
from mmadapter.evaluation.frame import answer_frame, question_frame
from mmadapter.experiment.run import build_model
from mmadapter.inference.image_features import question_images
from mmadapter.inference.predict import predict
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import write_text
from mmadapter.training.loop import train

FILE = FOLDER / "choices.json"
HELD = 1000
"""Training problems with an image that training lacks."""
ALL = "IMG"
"""Class of all questions that are asked: each has an image."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `python -m eval.choose` can be told."""

    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    config: Path | None = None
    """Settings (YAML, as of mmadapter-train) over those of `--preset small`."""


def main(settings: Settings) -> None:
    """One training, its line in the results file, and the page."""
    from eval.page import PAGE, page

    changed = read_settings(settings.config) if settings.config else {}
    config = replace(PRESETS["small"], **changed | {"variant": "multimodal"})
    data = held_out(load_dataset(config.dataset, settings.data_dir or None))
    found = {"settings": told_settings(config), "right": asked(config, data), "about": provenance("cpu")}
    choices = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    write_text(FILE, json.dumps(choices | {run_key(config): found}, indent=1) + "\n")
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def held_out(data: Dataset, held: int = HELD) -> Dataset:
    """`data` without its test split: instead `held` of the training problems with an image, which training then lacks,
    and those of val; and no val, so that every setting is that of its last epoch."""
    train, val = (list(data[split]) for split in ("train", "val"))
    seen = [problem.pid for problem in train if problem.has_image]
    away = {seen[index] for index in np.random.default_rng(0).permutation(len(seen))[:held]}
    splits = {
        "train": tuple(problem.pid for problem in train if problem.pid not in away),
        "val": (),
        "test": tuple(problem.pid for problem in (*train, *val) if problem.pid in away)
        + tuple(problem.pid for problem in val if problem.has_image),
    }
    return replace(data, problems={problem.pid: problem for problem in (*train, *val)}, splits=splits)


def asked(config: RunConfig, data: Dataset) -> dict[str, tuple[int, int]]:
    """How many of the held-out questions are answered right after training, and how many there are: of all, and by how
    often the same words are asked in training."""
    device = resolve_device(config.device)
    llm = load_llm(config.llm, device=device, dtype=resolve_dtype(config.dtype, device))
    model = build_model(config, llm, "multimodal")
    assert model.tower is not None  # it is multimodal
    images, data = question_images(model.tower, data, model.form)
    train(model, data, config.part(Recipe), images=images)
    questions = question_frame(data["test"])
    right = answer_frame(predict(model, data["test"], images=images), questions)["correct"]
    classes = {ALL: pd.Series(True, index=right.index), **wordings(questions, question_frame(data["train"]))}
    return {name: (int(right[mask].sum()), int(mask.sum())) for name, mask in classes.items()}


if __name__ == "__main__":
    program(main, Settings)
