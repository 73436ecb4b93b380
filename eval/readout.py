"""What the image features say by themselves: a linear read-out of them for every question that training often asks.

    python -m eval.readout --data-dir DIR
    python -m eval.readout --data-dir DIR --tuned FOLDER    # and of a tower of eval/backbones/tune_tower.py, on val

For each wording that at least 25 training problems with an image share, a ridge regression from the features which
`--preset small` projects to the answers' texts, fitted to those problems; the answer to a test question of the same
words is the option with the highest score. What it can tell from the picture is in the features: an adapter that cannot
has not lost it there. Writes eval/results/readout.json and RESULTS.md.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.measure import provenance
from eval.results import FOLDER
from mmadapter.cli.options import program
from mmadapter.config.presets import PRESETS
from mmadapter.config.settings import InputFormat
from mmadapter.data import load_dataset
from mmadapter.inference.image_features import QuestionImages, question_images
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.storage.files import write_text
from mmadapter.vision.towers import load_tower

FILE = FOLDER / "readout.json"
PLAIN, TUNED = "efficientnet-lite0", "trained further"
LEAST = 25
"""Training problems with an image that ask the same words."""
PENALTIES = np.logspace(1, 6, 11)
"""Of the regression; each has the one that leaving single training problems out finds best."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `python -m eval.readout` can be told."""

    data_dir: tuple[Path, ...] = ()
    """Folders that hold ScienceQA; the first that holds a problem wins."""
    tuned: Path | None = None
    """Folder of an image tower that was trained further, to be compared with the plain one on val."""


def main(settings: Settings) -> None:
    """The read-out, its results file, and the page."""
    from eval.page import PAGE, page

    data = load_dataset("scienceqa", settings.data_dir or None)
    towers = {PLAIN: _of_tower(PRESETS["small"].clip, data, "val", "test")}
    if settings.tuned:
        towers[TUNED] = _of_tower(str(settings.tuned), data, "val")
    write_text(FILE, json.dumps({"about": provenance("cpu"), "towers": towers}, indent=1) + "\n")
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def _of_tower(clip: str, data: Dataset, *splits: str) -> dict[str, str]:
    config = PRESETS["small"]
    images, known = question_images(load_tower(clip, scales=config.scales), data, config.part(InputFormat))
    return {split: read_out(known, images, split) for split in splits}


def read_out(data: Dataset, images: QuestionImages, split: str = "test", *, least: int = LEAST) -> str:
    """
    Returns:
        A digit a question of the split: 1 right, 0 wrong, - where training asks its words in fewer than `least`
        problems with an image.
    """
    asked: dict[str, list[Problem]] = defaultdict(list)
    for problem in data["train"]:
        if problem.pid in images.row:
            asked[problem.question].append(problem)
    to_answer: dict[str, list[Problem]] = defaultdict(list)
    for problem in data[split]:
        if problem.pid in images.row and len(asked[problem.question]) >= least:
            to_answer[problem.question].append(problem)
    right = {}
    for words, questions in to_answer.items():
        answers = _answers(asked[words], questions, images)
        right |= {q.pid: str(int(answer == q.answer)) for q, answer in zip(questions, answers, strict=True)}
    return "".join(right.get(problem.pid, "-") for problem in data[split])


def _answers(problems: Sequence[Problem], questions: Sequence[Problem], images: QuestionImages) -> list[int]:
    """Index of the option with the highest score of each question: 1 was its right answer in training, -1 offered and
    wrong, 0 not offered."""
    texts = sorted({problem.choices[problem.answer] for problem in problems})
    column = {text: index for index, text in enumerate(texts)}
    wanted = np.zeros((len(problems), len(texts)))
    for row, problem in zip(wanted, problems, strict=True):
        row[[column[text] for text in problem.choices if text in column]] = -1
        row[column[problem.choices[problem.answer]]] = 1
    seen, asked = (images.of([problem.pid for problem in own])[0].double().numpy() for own in (problems, questions))
    scores = (
        make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(seen, wanted).predict(asked).reshape(len(asked), -1)
    )
    never = -np.inf  # no training problem had this answer
    return [
        int(np.argmax([row[column[text]] if text in column else never for text in question.choices]))
        for row, question in zip(scores, questions, strict=True)
    ]


if __name__ == "__main__":
    program(main, Settings)
