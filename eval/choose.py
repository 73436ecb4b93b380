"""Compare settings for `--preset small` without the test split.

    python -m eval.choose --data-dir DIR --config settings.yaml    # one setting a line, as in config.yaml

Holds out 1,000 training problems with an image, trains the multimodal adapter on the rest, and tests it on these and on
the val split's. Adds the result to eval/results/choices.json and writes RESULTS.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eval.page import write_page
from eval.results import FOLDER
from eval.runs import bits, run_key, run_settings, wordings
from mmadapter.backbone.device import resolve_device, resolve_dtype
from mmadapter.backbone.loading import load_llm
from mmadapter.cli.options import program
from mmadapter.config.files import read_settings
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import Recipe, RunConfig
from mmadapter.data import load_dataset
from mmadapter.evaluation.frame import answer_frame, question_frame
from mmadapter.evaluation.wordings import cluster_ids
from mmadapter.experiment.prepare import build_model
from mmadapter.inference.image_features import question_images
from mmadapter.inference.predict import predict
from mmadapter.runs.provenance import provenance
from mmadapter.scienceqa.problems import Dataset
from mmadapter.storage.files import write_text
from mmadapter.training.loop import train
from mmadapter.vision.towers import load_tower

FILE = FOLDER / "choices.json"
HELD = 1000
"""Number of training problems held out."""
ALL = "IMG"
"""Class of all held-out questions; each has an image."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `python -m eval.choose`."""

    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    config: Path | None = None
    """Changes to `--preset small`, a YAML file as for mmadapter-train."""


def main(settings: Settings) -> None:
    """Train once, add the result to the results file and write the page."""
    changed = read_settings(settings.config) if settings.config else {}
    config = replace(PRESETS["small"], **changed | {"variant": "multimodal"})
    data = held_out(load_dataset(config.dataset, settings.data_dir or None))
    found = {"settings": run_settings(config), **asked(config, data), "about": provenance()}
    choices = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    write_text(FILE, json.dumps(choices | {run_key(config): found}, indent=1) + "\n")
    write_page()


def held_out(data: Dataset, held: int = HELD) -> Dataset:
    """Replace the test split by `held` training problems with an image, removed from training, and by val's.

    The new val split is empty, so every training keeps its last epoch.
    """
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


def asked(config: RunConfig, data: Dataset) -> dict[str, Any]:
    """Train, and return what was right of the held-out questions, with their classes and wordings (`results`)."""
    device = resolve_device(config.device)
    llm = load_llm(config.llm, device=device, dtype=resolve_dtype(config.dtype, device))
    tower = load_tower(config.clip, scales=config.scales, device=device)
    model = build_model(config, llm, tower)
    images, data = question_images(tower, data, model.form)
    train(model, data, config.part(Recipe), images=images)
    questions = question_frame(data["test"])
    right = answer_frame(predict(model, data["test"], images=images), questions)["correct"]
    classes = {ALL: pd.Series(True, index=right.index), **wordings(questions, question_frame(data["train"]))}
    return {
        "right": bits(right),
        "classes": {name: bits(mask) for name, mask in classes.items()},
        "wording": cluster_ids(questions).tolist(),
    }


if __name__ == "__main__":
    program(main, Settings)
