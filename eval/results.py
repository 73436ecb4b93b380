"""A study's results, as one JSON file: the settings of each run and, for every question, whether it was right.

All tables, figures and verdicts are computed from it. It holds no question.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mmadapter.errors import UserError
from mmadapter.evaluation.estimates import Accuracy, Difference, estimate_accuracy, estimate_difference
from mmadapter.storage.files import write_text

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Questions:
    """The questions of a split."""

    n: int
    classes: dict[str, str]
    """For each class a digit a question, 1 for a member: the paper's columns, questions with an image by how often
    training has their wording, by their options, then `topic: NAME`."""
    wording: list[int] = field(default_factory=list)
    """The wording of each question: 0, 1, ... in order of their first questions."""
    credits: dict[str, list[float]] = field(default_factory=dict)
    """For each baseline the credit of each question, from 0 to 1 (`evaluation.baselines`)."""

    def same(self, other: Questions) -> bool:
        """Return whether both are the same questions, as far as the classes that both know tell."""
        common = self.classes.keys() & other.classes.keys()
        return self.n == other.n and all(self.classes[name] == other.classes[name] for name in common)

    def member(self, column: str) -> np.ndarray:
        """Return bool[n], the members of a class; a class that the data set lacks has none."""
        return _array(self.classes[column]) if column in self.classes else np.zeros(self.n, dtype=bool)


@dataclass(frozen=True)
class Run:
    """One training of one variant."""

    settings: dict[str, Any]
    seed: int
    trained: int
    """Number of trained parameters."""
    epochs: list[dict[str, float]]
    """The `EpochRecord`s of `mmadapter.training.log`."""
    seconds: float
    """Time of training and validation."""
    correct: dict[str, str]
    """For each split a digit a question, 1 for a correct answer."""
    controls: dict[str, str] = field(default_factory=dict)
    """For each condition of the image (`evaluation.reliance.CONDITIONS`) a digit a test question, - for one
    that was not asked under it (0 in older records); empty where the model was not asked at all."""
    generated: dict[str, str] = field(default_factory=dict)
    """For each split whose answers the model wrote, a digit a question, 0 where it wrote no option."""


def updated(before: Run | None, now: Run) -> Run:
    """Return a run read again, with the further answers recorded before if it is still the same run."""
    if before is None or replace(before, controls=now.controls, generated=now.generated) != now:
        return now
    return replace(now, controls=now.controls or before.controls, generated=before.generated | now.generated)


@dataclass(frozen=True)
class Results:
    """The results of a study."""

    about: dict[str, Any]
    """Command and provenance."""
    questions: dict[str, Questions]
    """The questions of each split."""
    runs: dict[str, Run]
    """The runs by `runs.run_key`."""

    def clusters(self, split: str, column: str) -> np.ndarray:
        """Return int[Q], the wordings of the questions of a class."""
        questions = self.questions[split]
        return np.array(questions.wording)[questions.member(column)]

    def credit(self, baseline: str, split: str, column: str) -> np.ndarray:
        """Return number[1, Q], a baseline's credits for the Q questions of a class."""
        questions = self.questions[split]
        return np.array(questions.credits[baseline])[None, questions.member(column)]

    def right(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """Return bool[S, Q], the correct answers of S runs to the Q questions of a class."""
        member = self.questions[split].member(column)
        return np.stack([_array(self.runs[key].correct[split])[member] for key in keys])

    def right_with(self, keys: list[str], condition: str) -> tuple[np.ndarray, np.ndarray]:
        """Return bool[S, Q], the answers under a condition of the image and those with the true image, to the test
        questions with an image that were asked under it, side by side: bool[2 S, Q]; and int[Q], their wordings."""
        given = [self.runs[key].controls[condition] for key in keys]
        member = self.questions["test"].member("IMG") & np.array([digit != "-" for digit in given[0]])
        both = [_array(bits)[member] for bits in (*given, *(self.runs[key].controls["true"] for key in keys))]
        return np.stack(both), np.array(self.questions["test"].wording)[member]

    def right_generated(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """Return bool[S, Q] as `right` does, for the written answers of those runs that have some."""
        member = self.questions[split].member(column)
        written = [self.runs[key].generated[split] for key in keys if split in self.runs[key].generated]
        return np.stack([_array(bits)[member] for bits in written]) if written else np.zeros((0, 0), dtype=bool)

    def write(self, path: Path) -> None:
        """Write JSON, a line for each split and each run."""
        sections = {
            "questions": {split: asdict(asked) for split, asked in self.questions.items()},
            "runs": {key: asdict(run) for key, run in sorted(self.runs.items())},
        }
        parts = [f'"about": {json.dumps(self.about, indent=1)}']
        for name, entries in sections.items():
            lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in entries.items()]
            parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
        write_text(path, "{" + ",\n".join(parts) + "}\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a results file.

        Raises:
            UserError: no such file.
        """
        if not path.is_file():
            raise UserError(f"{path}: no results yet: `make paper` writes them")
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            found["about"],
            {split: Questions(**questions) for split, questions in found["questions"].items()},
            {key: Run(**run) for key, run in found["runs"].items()},
        )


class Estimate(NamedTuple):
    """A mean and its interval, in percent or percentage points."""

    mean: float
    low: float
    high: float
    seeds: int
    questions: int


def accuracy(right: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Return the accuracy, with a 95 % interval for other seeds and other wordings (`evaluation.estimates`).

    Args:
        right: number[S, Q]: of S seeds and Q questions, 1 correct, 0 wrong, or the credit of a baseline.
        clusters: int[Q]: the wording of each question.
    """
    return _summed_up(estimate_accuracy(*_framed(right, clusters)), *right.shape)


def difference(a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> Difference:
    """Return the difference of two systems, seed by seed and question by question, as `evaluation.estimates` has it.

    Args:
        a, b: as for `accuracy`; one with a single seed is set against every seed of the other.
        clusters: int[Q].
    """
    (credit_a, wordings), (credit_b, _) = _framed(a, clusters), _framed(b, clusters)
    return estimate_difference(credit_a, credit_b, wordings)


def gain(a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> Estimate:
    """Return `difference` with its interval."""
    return _summed_up(difference(a, b, clusters), max(len(a), len(b)), a.shape[1])


def _framed(right: np.ndarray, clusters: np.ndarray) -> tuple[pd.DataFrame, pd.Series]:
    return pd.DataFrame(np.asarray(right, dtype=float).T), pd.Series(clusters, name="wording")


def _summed_up(found: Accuracy | Difference, seeds: int, questions: int) -> Estimate:
    if not seeds or not questions:
        return Estimate(math.nan, math.nan, math.nan, seeds, questions)
    return Estimate(found.value, *found.interval(), seeds, questions)


def _array(bits: str) -> np.ndarray:
    return np.frombuffer(bits.encode(), dtype=np.uint8) == ord("1")
