"""A study's results, as one JSON file: the settings of each run and, for every question, whether it was right.

All tables, figures and verdicts are computed from it. It holds no question.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
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
    """The questions of a split."""

    n: int
    classes: dict[str, str]
    """For each class a digit a question, 1 for a member: the paper's columns, questions with an image by how often
    training has their wording, then `topic: NAME`."""

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
    """For each condition of the image (`evaluation.reliance.CONDITIONS`) a digit a test question, 0 without an image;
    empty where the model was not asked under it."""
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

    def right(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """Return bool[S, Q], the correct answers of S runs to the Q questions of a class."""
        member = self.questions[split].member(column)
        return np.stack([_array(self.runs[key].correct[split])[member] for key in keys])

    def right_with(self, keys: list[str], condition: str) -> np.ndarray:
        """Return bool[S, Q], the correct answers to the test questions with an image under a condition."""
        member = self.questions["test"].member("IMG")
        return np.stack([_array(self.runs[key].controls[condition])[member] for key in keys])

    def right_generated(self, keys: list[str], split: str, column: str) -> np.ndarray:
        """Return bool[S, Q] as `right` does, for the written answers of those runs that have some."""
        member = self.questions[split].member(column)
        written = [self.runs[key].generated[split] for key in keys if split in self.runs[key].generated]
        return np.stack([_array(bits)[member] for bits in written]) if written else np.zeros((0, 0), dtype=bool)

    def write(self, path: Path) -> None:
        """Write JSON, one line a run."""
        head = {"about": self.about, "questions": {split: asdict(q) for split, q in self.questions.items()}}
        lines = [f"{json.dumps(key)}: {json.dumps(asdict(run))}" for key, run in sorted(self.runs.items())]
        write_text(path, json.dumps(head, indent=1)[:-2] + ',\n "runs": {\n' + ",\n".join(lines) + "\n}}\n")

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


def estimate(outcomes: np.ndarray) -> Estimate:
    """Return the mean over seeds and questions, with a 95 % interval for other seeds and other questions.

    The variance of the mean is that of the seeds' means over S plus that of the questions' means over Q, which is
    slightly too wide: the interaction of seeds and questions counts twice. The degrees of freedom are Welch and
    Satterthwaite's. With one seed, the interval is over questions alone. If all outcomes are equal, it is the exact
    bound on the share of questions that would differ.

    Args:
        outcomes: number[S, Q]: 1 correct, 0 wrong; or the difference of two systems on the same seeds and questions.
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
    freedom = variance**2 / sum(spread**2 / degrees for spread, degrees in spreads)
    half = stats.t.ppf((1 + LEVEL) / 2, freedom) * np.sqrt(variance)
    return Estimate(100 * mean, 100 * (mean - half), 100 * (mean + half), seeds, questions)


def _array(bits: str) -> np.ndarray:
    return np.frombuffer(bits.encode(), dtype=np.uint8) == ord("1")
