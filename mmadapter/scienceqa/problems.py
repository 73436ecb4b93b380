"""A ScienceQA problem, and a data set of them.

Nothing here reads a file or knows a model. None means unknown: a hint that is "" is known to be empty, a hint or a
metadata field that is None is unknown.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mmadapter.errors import UserError

if TYPE_CHECKING:
    import pandas

LETTERS = "ABCDE"
"""ScienceQA's questions have one to five options."""


@runtime_checkable
class ImageSource(Protocol):
    """An encoded image, not read before `read` is called."""

    @property
    def where(self) -> str:
        """The file (and row), for messages."""

    def read(self) -> bytes:
        """Return the encoded image; a UserError if it cannot be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One question. Field names are those of `problems.json`."""

    pid: str
    split: str
    """train, val or test."""
    question: str
    choices: tuple[str, ...]
    answer: int
    """0-based index of the right choice."""
    hint: str | None = None
    """The textual context; "" if there is none, None if unknown."""
    image: ImageSource | None = None
    """The question's own picture (ScienceQA's IMG)."""
    choice_images: tuple[ImageSource, ...] = ()
    """Pictures that are the options themselves; a question that has only these counts as without image."""
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
        """TXT: the hint is not empty; None where the hint is unknown."""
        return None if self.hint is None else bool(self.hint)

    @property
    def has_image(self) -> bool:
        """IMG: the question has its own picture."""
        return self.image is not None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A broken problem that was left out because the user chose to skip such problems and count them."""

    where: str
    """File, pid and field."""
    reason: str
    pid: str | None = None
    splits: tuple[str, ...] | None = None
    """Every split that lacks the problem, none if another folder has a sound one; None if unknown."""


@dataclass(frozen=True)
class Dataset:
    """Typed problems and named splits of them; iterating gives problems."""

    name: str
    problems: Mapping[str, Problem]
    """By pid, in reading order."""
    splits: Mapping[str, tuple[str, ...]]
    """Split name to pids: train, val, test and any other that the files define (minitrain, trainval, ...)."""
    skipped: tuple[Skipped, ...] = ()

    def __getitem__(self, split: str) -> Dataset:
        """Return one split, in the split file's order, with what it lacks or may lack in `skipped`.

        Raises:
            UserError: no such split.
        """
        if split not in self.splits:
            raise UserError(f"{self.name}: no split {split!r}; there are: {', '.join(self.splits) or 'none'}")
        pids = self.splits[split]
        skipped = tuple(skip for skip in self.skipped if skip.splits is None or split in skip.splits)
        return Dataset(self.name, {pid: self.problems[pid] for pid in pids}, {split: pids}, skipped)

    def only(self, pids: Container[str]) -> Dataset:
        """Keep only `pids`, in the problems and in the splits."""
        problems = {pid: problem for pid, problem in self.problems.items() if pid in pids}
        splits = {name: tuple(pid for pid in split if pid in pids) for name, split in self.splits.items()}
        return replace(self, problems=problems, splits=splits)

    def first(self, n: int | None, only: str | None = None) -> Dataset:
        """Keep the first `n` problems of each split, or of the split `only` while the others stay whole; all if None.

        Raises:
            UserError: `n` is not at least 1, or no such split.
        """
        if n is None:
            return self
        if n < 1:
            raise UserError(f"limit is {n}: it must be at least 1")
        if only is not None:
            return self.only(set(self.problems) - set(tuple(self[only].problems)[n:]))
        splits = {name: split[:n] for name, split in self.splits.items()}  # splits overlap: minitest is part of test
        return replace(self.only({pid for split in splits.values() for pid in split}), splits=splits)

    def __len__(self) -> int:
        return len(self.problems)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self.problems.values())

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with one row a problem, indexed by pid (string), in the data set's order; unknown is <NA>.

        The columns are those of `FRAME_DTYPES`. `answer` is the 0-based index into `choices`, `has_text` and
        `has_image` are the paper's TXT and IMG, `image` is the picture's place (file, or table and row).
        """
        import pandas as pd  # takes half a second

        columns = {
            name: pd.Series([_DERIVED.get(name, attrgetter(name))(problem) for problem in self], dtype=dtype).array
            for name, dtype in FRAME_DTYPES.items()
        }
        return pd.DataFrame(columns, index=pd.Index(list(self.problems), dtype="string", name="pid"))


FRAME_DTYPES = {
    **dict.fromkeys(("split", "subject", "topic", "category", "skill"), "string"),
    "grade": "Int64",
    **dict.fromkeys(("task", "question"), "string"),
    "choices": "object",
    "answer": "Int64",
    "hint": "string",
    "has_text": "boolean",
    "has_image": "bool",
    "n_choices": "Int64",
    **dict.fromkeys(("caption", "lecture", "solution", "image"), "string"),
}
"""The columns in order. All but `has_image` can be <NA>; `choices` holds lists of texts."""

_DERIVED = {
    "choices": lambda problem: list(problem.choices),
    "n_choices": lambda problem: len(problem.choices),
    "image": lambda problem: None if problem.image is None else problem.image.where,
}
"""Columns that are not simply the problem's attribute of that name."""
