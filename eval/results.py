"""What a study found, as one JSON file: the runs with their settings, and of every question whether it was answered.

Everything that the tables, figures and sentences say is computed from it. It holds no question.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmadapter.errors import UserError
from mmadapter.evaluation.statistics import accuracy_interval
from mmadapter.storage.files import write_text

FOLDER = Path(__file__).parent / "results"
LEVEL = 0.95


@dataclass(frozen=True)
class Questions:
    """Of a split."""

    n: int
    classes: dict[str, str]
    """By name, a digit a question: 1 if it is in the class. The paper's columns, how often the words of a question with
    an image are asked in training, then `topic: NAME`."""

    def member(self, column: str) -> np.ndarray:
        """bool[n]: which questions are in a class; none are in one that this data set has not."""
        return _array(self.classes[column]) if column in self.classes else np.zeros(self.n, dtype=bool)


@dataclass(frozen=True)
class Run:
    """One training of one variant."""

    settings: dict[str, Any]
    seed: int
    trained: int
    """Parameters."""
    epochs: list[dict[str, float]]
    """`mmadapter.training.log.EpochRecord`s."""
    seconds: float
    """Of training and validation."""
    correct: dict[str, str]
    """By split, a digit a question: 1 if it was answered right."""
    controls: dict[str, str] = field(default_factory=dict)
    """By condition of the image (`controls.CONDITIONS`), where its model was asked under it: a digit a test question,
    0 where there is no image."""
    generated: dict[str, str] = field(default_factory=dict)
    """By split, where its model was asked to write the answer: a digit a question, 0 where it wrote no option."""


def taken_again(before: Run | None, now: Run) -> Run:
    """A run that was recorded before and is read again: what its model was asked besides stays where it is the same."""
    if before is None or replace(before, controls=now.controls, generated=now.generated) != now:
        return now
    return replace(now, controls=now.controls or before.controls, generated=before.generated | now.generated)


@dataclass(frozen=True)
class Results:
    """Of a study."""

    about: dict[str, Any]
    """Command, date, machine, versions, commit."""
    questions: dict[str, Questions]
    """By split."""
    runs: dict[str, Run]
    """By `runs.run_key`."""

    @cached_property
    def _right(self) -> dict[tuple[str, str], np.ndarray]:
        return {(key, split): _array(bits) for key, run in self.runs.items() for split, bits in run.correct.items()}

    def right(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """bool[S, Q]: which questions of a class each of some runs answered right."""
        member = self.questions[split].member(column)
        return np.stack([self._right[key, split][member] for key in keys])

    def right_with(self, keys: list[str], condition: str) -> np.ndarray:
        """bool[S, Q]: which test questions with an image each of some runs answered right under a condition."""
        member = self.questions["test"].member("IMG")
        return np.stack([_array(self.runs[key].controls[condition])[member] for key in keys])

    def right_generated(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """bool[S, Q]: as `right`, of what those of the runs wrote that were asked to."""
        member = self.questions[split].member(column)
        written = [self.runs[key].generated[split] for key in keys if split in self.runs[key].generated]
        return np.stack([_array(bits)[member] for bits in written]) if written else np.zeros((0, 0), dtype=bool)

    def write(self, path: Path) -> None:
        """As JSON, a line a run."""
        head = {"about": self.about, "questions": {split: asdict(q) for split, q in self.questions.items()}}
        lines = [f"{json.dumps(key)}: {json.dumps(asdict(run))}" for key, run in sorted(self.runs.items())]
        write_text(path, json.dumps(head, indent=1)[:-2] + ',\n "runs": {\n' + ",\n".join(lines) + "\n}}\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """
        Raises:
            UserError: there is no such file.
        """
        if not path.is_file():
            raise UserError(f"{path}: no results yet: `make paper` writes them")
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            found["about"],
            {split: Questions(**own) for split, own in found["questions"].items()},
            {key: Run(**run) for key, run in found["runs"].items()},
        )


class Estimate(NamedTuple):
    """In percent, or points of it."""

    mean: float
    low: float
    high: float
    seeds: int
    questions: int


def estimate(outcomes: np.ndarray) -> Estimate:
    """A mean over seeds and questions, and what other seeds and other questions would make of it (95 %).

    Seeds and questions are two sources of chance. The variance of the mean is that of the seeds' means over S plus
    that of the questions' means over Q (a little too much: what a seed does to single questions is in both), the
    degrees of freedom are Welch and Satterthwaite's. One seed tells nothing of others: then the interval is over
    questions alone. Where all outcomes are the same, it is the exact bound on how many questions would differ.

    Args:
        outcomes: number[S, Q]: 1 right, 0 wrong; or the difference of two systems on the same seeds and questions.
    """
    from scipy import stats

    outcomes = np.asarray(outcomes, dtype=float)
    seeds, questions = outcomes.shape
    if questions == 0 or seeds == 0:
        nan = float("nan")
        return Estimate(nan, nan, nan, seeds, questions)
    mean = outcomes.mean()
    parts = [(outcomes.mean(axis=0), questions), (outcomes.mean(axis=1), seeds)]
    spreads = [(means.var(ddof=1) / n, n - 1) for means, n in parts if n > 1]
    variance = sum(spread for spread, _ in spreads)
    if variance == 0:
        bound = accuracy_interval(0, questions).high
        return Estimate(100 * mean, 100 * mean - bound, 100 * mean + bound, seeds, questions)
    freedom = variance**2 / sum(spread**2 / own for spread, own in spreads)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance)
    return Estimate(100 * mean, 100 * (mean - half), 100 * (mean + half), seeds, questions)


def _array(bits: str) -> np.ndarray:
    return np.frombuffer(bits.encode(), dtype=np.uint8) == ord("1")
