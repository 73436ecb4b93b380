"""A linear read-out of the image features, for every question whose wording is frequent in training.

    python -m eval.readout --data-dir DIR
    python -m eval.readout --data-dir DIR --tuned FOLDER    # and a tower from eval/backbones/tune_tower.py, on val

For each wording that at least 25 training problems with an image share, a ridge regression is fitted to those problems,
from the features that `--preset small` projects to the answers' texts. Its answer to a test question of that wording is
the option with the highest score. Whatever it reads is in the features, so an adapter that misses it lost it later.
Writes eval/results/readout.json and RESULTS.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eval.page import write_page
from eval.results import FOLDER
from mmadapter.cli.options import program
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import InputFormat
from mmadapter.data import load_dataset
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.runs.provenance import provenance
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.storage.files import write_text
from mmadapter.vision.towers import load_tower

FILE = FOLDER / "readout.json"
PLAIN, TUNED = "efficientnet-lite0", "trained further"
LEAST = 25
"""Least number of training problems with an image for a wording."""
PENALTIES = np.logspace(1, 6, 11)
"""Penalties of the regression, chosen by leave-one-out on the training problems."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of `python -m eval.readout`."""

    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    tuned: Path | None = None
    """Folder of an image tower that was trained further, to compare with the plain one on val."""


def main(settings: Settings) -> None:
    """Write the read-out's results file and the page."""
    data = load_dataset("scienceqa", settings.data_dir or None)
    towers = {PLAIN: _tower_answers(PRESETS["small"].clip, data, "val", "test")}
    if settings.tuned:
        towers[TUNED] = _tower_answers(str(settings.tuned), data, "val")
    write_text(FILE, json.dumps({"about": provenance(), "towers": towers}, indent=1) + "\n")
    write_page()


def _tower_answers(clip: str, data: Dataset, *splits: str) -> dict[str, str]:
    config = PRESETS["small"]
    images, known = question_images(load_tower(clip, scales=config.scales), data, config.part(InputFormat))
    return {split: read_out(known, images, split) for split in splits}


def read_out(data: Dataset, images: QuestionImages, split: str = "test", *, least: int = LEAST) -> str:
    """Answer a split's questions from the image features.

    Returns:
        A digit a question: 1 correct, 0 wrong, - if fewer than `least` training problems with an image share its
        wording.
    """
    trained, asked = (_by_wording(data[name], images) for name in ("train", split))
    right = {}
    for wording, questions in asked.items():
        if len(trained.get(wording, [])) < least:
            continue
        answers = _answers(trained[wording], questions, images)
        right |= {q.pid: str(int(answer == q.answer)) for q, answer in zip(questions, answers, strict=True)}
    return "".join(right.get(problem.pid, "-") for problem in data[split])


def _by_wording(problems: Iterable[Problem], images: QuestionImages) -> dict[str, list[Problem]]:
    found: dict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        if problem.pid in images.row:
            found[problem.question].append(problem)
    return found


def _answers(problems: Sequence[Problem], questions: Sequence[Problem], images: QuestionImages) -> list[int]:
    """Index of the option with the highest score. The regression's targets are 1 for the correct answer, -1 for other
    offered ones and 0 for those not offered."""
    texts = sorted({problem.choices[problem.answer] for problem in problems})
    column = {text: index for index, text in enumerate(texts)}
    targets = np.zeros((len(problems), len(texts)))
    for row, problem in zip(targets, problems, strict=True):
        row[[column[text] for text in problem.choices if text in column]] = -1
        row[column[problem.choices[problem.answer]]] = 1
    seen, asked = (images.of([problem.pid for problem in part])[0].double().numpy() for part in (problems, questions))
    regression = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(seen, targets)
    scores = regression.predict(asked).reshape(len(asked), -1)
    return [
        int(np.argmax([row[column[text]] if text in column else -np.inf for text in question.choices]))
        for row, question in zip(scores, questions, strict=True)
    ]


if __name__ == "__main__":
    program(main, Settings)
