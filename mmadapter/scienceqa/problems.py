"""A ScienceQA problem, and a data set of problems.

Nothing here reads a file or knows a model. The unknown is None: a hint that is "" is known to be empty,
a hint that is None is unknown, and so is every metadata field.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mmadapter.errors import UserError

if TYPE_CHECKING:
    import pandas

LETTERS = "ABCDE"
"""Letters of the options; ScienceQA's questions have one to five."""


@runtime_checkable
class ImageSource(Protocol):
    """A source of an image's bytes; nothing is read before `read` is called."""

    @property
    def where(self) -> str:
        """The file (and row), for messages."""

    def read(self) -> bytes:
        """Read the encoded image.

        Raises:
            UserError: the file cannot be read.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One question. The fields are named as in `problems.json`."""

    pid: str
    split: str
    """train, val or test."""
    question: str
    choices: tuple[str, ...]
    answer: int
    """0-based index of the right choice."""
    hint: str | None = None
    """The textual context; "" if there is none, None if that is unknown."""
    image: ImageSource | None = None
    """The question's own picture (ScienceQA's IMG)."""
    choice_images: tuple[ImageSource, ...] = ()
    """Pictures that are themselves the options; such a question counts as one without an image."""
    grade: int | None = None
    """1 to 12."""
    subject: str | None = None
    """natural science, social science or language science."""
    topic: str | None = None
    category: str | None = None
    skill: str | None = None
    task: str | None = None
    lecture: str | None = None
    solution: str | None = None
    caption: str | None = None

    @property
    def has_text(self) -> bool | None:
        """TXT: whether the hint is not empty; None where it is unknown."""
        return None if self.hint is None else bool(self.hint)

    @property
    def has_image(self) -> bool:
        """IMG: whether the question has its own picture."""
        return self.image is not None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A broken problem that was left out because the user chose to skip."""

    where: str
    """File, pid and field."""
    reason: str
    pid: str | None = None
    splits: tuple[str, ...] | None = None
    """Every split that lacks the problem, none if another folder has a sound copy; None if unknown."""


@dataclass(frozen=True)
class Dataset:
    """Typed problems and named splits over them.

    `data["test"]` is the data set of that split alone, in the split file's order; iterating gives problems.
    """

    name: str
    problems: Mapping[str, Problem]
    """By pid, in reading order."""
    splits: Mapping[str, tuple[str, ...]]
    """pids by split name: train, val, test and any other the files define (minitrain, trainval, ...)."""
    skipped: tuple[Skipped, ...] = field(default=())

    def __getitem__(self, split: str) -> Dataset:
        """Select one split; `skipped` names the problems that it lacks or may lack.

        Raises:
            UserError: no such split.
        """
        if split not in self.splits:
            raise UserError(f"{self.name}: no split {split!r}; there are: {', '.join(self.splits) or 'none'}")
        pids = self.splits[split]
        skipped = tuple(skip for skip in self.skipped if skip.splits is None or split in skip.splits)
        return Dataset(self.name, {pid: self.problems[pid] for pid in pids}, {split: pids}, skipped)

    def only(self, pids: Container[str]) -> Dataset:
        """Select the problems among `pids`, in all splits."""
        problems = {pid: problem for pid, problem in self.problems.items() if pid in pids}
        splits = {name: tuple(pid for pid in split if pid in pids) for name, split in self.splits.items()}
        return replace(self, problems=problems, splits=splits)

    def first(self, n: int | None, only: str | None = None) -> Dataset:
        """Select the first `n` problems of each split, or of one split only; all if `n` is None.

        Raises:
            UserError: `n` is not at least 1, or no such split.
        """
        if n is not None and n < 1:
            raise UserError(f"limit is {n}: it must be at least 1")
        if n is None:
            return self
        if only is not None:
            return self.only(set(self.problems) - set(tuple(self[only].problems)[n:]))
        splits = {name: split[:n] for name, split in self.splits.items()}  # which may overlap: minitest is of test
        return replace(self.only({pid for split in splits.values() for pid in split}), splits=splits)

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems.values())

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row a problem, indexed by pid (string), in the data set's order; the unknown is <NA>.

        The columns are those of `FRAME_DTYPES`. `answer` is the 0-based index into `choices`, `has_text` and
        `has_image` are the paper's TXT and IMG, `image` says where the picture is (file, or table and row).
        """
        import pandas as pd  # takes half a second

        columns = {
            name: pd.Series([_DERIVED.get(name, attrgetter(name))(problem) for problem in self], dtype=dtype).array
            for name, dtype in FRAME_DTYPES.items()
        }
        return pd.DataFrame(columns, index=pd.Index(list(self.problems), dtype="string", name="pid"))


FRAME_DTYPES = {
    "split": "string",
    "subject": "string",
    "topic": "string",
    "category": "string",
    "skill": "string",
    "grade": "Int64",
    "task": "string",
    "question": "string",
    "choices": "object",
    "answer": "Int64",
    "hint": "string",
    "has_text": "boolean",
    "has_image": "bool",
    "n_choices": "Int64",
    "caption": "string",
    "lecture": "string",
    "solution": "string",
    "image": "string",
}
"""The frame's columns in order. All but `has_image` may be <NA>; `choices` holds lists of texts."""

_DERIVED = {
    "choices": lambda problem: list(problem.choices),
    "n_choices": lambda problem: len(problem.choices),
    "image": lambda problem: None if problem.image is None else problem.image.where,
}
"""Columns that are not simply the problem's attribute of that name."""
