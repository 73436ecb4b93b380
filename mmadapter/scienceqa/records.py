"""Turn a raw record into a typed problem, checked field by field.

Both storage forms (`layout`, `parquet`) bring their records here, so both refuse the same things in the same
words. Field names and types are those of `problems.json`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

from mmadapter.errors import UserError, printable
from mmadapter.scienceqa.problems import LETTERS, ImageSource, Problem, Skipped
from mmadapter.storage.untrusted import short

OnError = Literal["stop", "skip"]

SPLITS = ("train", "val", "test")
"""The three disjoint splits; any other list (minitest, trainval, ...) selects from them."""

SUBJECTS = ("natural science", "social science", "language science")
"""Subjects, the paper's NAT, SOC and LAN."""

MAX_TEXT = 100_000
"""Most characters in a field. ScienceQA's longest, a lecture, has about 3,000."""

MAX_NAME = 200
"""Most characters in the name of a problem, split or picture. ScienceQA's pids have at most five."""

MAX_IMAGE_BYTES = 1 << 26
"""64 MiB, the largest encoded picture. ScienceQA's are below 1 MB."""


class BrokenProblem(UserError):
    """A problem that cannot be used, while others can."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class BrokenProblems:
    """Stop at the first broken problem, or leave it out and count it."""

    def __init__(self, on_error: OnError):
        self._on_error = on_error
        self.skipped: list[Skipped] = []

    @contextmanager
    def caught(self, pid: str | None = None, splits: Iterable[str] | None = None) -> Iterator[None]:
        """Catch a break while one problem is read; the rest of the block is then left out.

        Args:
            splits: all that name the problem; None if that is unknown.
        """
        try:
            yield
        except BrokenProblem as broken:
            if self._on_error != "skip":
                raise UserError(f"{broken}\n  correct it, or leave it out with --on-error skip") from None
            named = None if splits is None else tuple(splits)
            self.skipped.append(Skipped(broken.where, broken.reason, pid, named))


def checked_name(name: str, where: str) -> str:
    """Return `name`, a pid or a split's name, if a table and a message can show it.

    Raises:
        BrokenProblem: it is empty, longer than MAX_NAME, or holds control characters.
    """
    if not 1 <= len(name) <= MAX_NAME or printable(name) != name:
        raise BrokenProblem(f"{where} {short(name)}", f"must have 1 to {MAX_NAME} characters, all of them printable")
    return name


class Fields:
    """The raw fields of a problem, each checked when it is asked for."""

    def __init__(self, raw: Mapping[str, object], where: str):
        """`where` names the file and the problem for messages."""
        self._raw = raw
        self._where = where

    def broken(self, field: str, reason: str) -> BrokenProblem:
        return BrokenProblem(f"{self._where}: {field}", reason)

    def value(self, field: str) -> object:
        if field not in self._raw:
            raise self.broken(field, "is missing")
        return self._raw[field]

    def text(self, field: str) -> str:
        return self._text(field, self.value(field))

    def text_or_unknown(self, field: str) -> str | None:
        value = self.value(field)
        return None if value is None else self._text(field, value)

    def text_if_given(self, field: str) -> str | None:
        return self.text(field) if field in self._raw else None

    def filled_text(self, field: str) -> str:
        text = self.text(field)
        if not text.strip():
            raise self.broken(field, "is empty")
        return text

    def choices(self) -> tuple[str, ...]:
        value = self.value("choices")
        if not isinstance(value, list):
            raise self.broken("choices", f"must be a list of texts, is {_json_type(value)}")
        if not 1 <= len(value) <= len(LETTERS):
            raise self.broken("choices", f"must be 1 to {len(LETTERS)}, are {len(value)}")
        for index, choice in enumerate(value):
            if not self._text(f"choices[{index}]", choice).strip():
                raise self.broken(f"choices[{index}]", "is empty")
        return tuple(value)

    def answer(self, n_choices: int) -> int:
        value = self.value("answer")
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.broken("answer", f"must be a whole number, is {_json_type(value)}")
        if not 0 <= value < n_choices:
            raise self.broken("answer", f"is {short(value)}, the {n_choices} choices count from 0 to {n_choices - 1}")
        return value

    def split(self) -> str:
        value = self.text("split")
        if value not in SPLITS:
            raise self.broken("split", f"is {short(value)}, must be one of {', '.join(SPLITS)}")
        return value

    def grade(self) -> int | None:
        """The grade as a number, 7 for `"grade7"`."""
        value = self.text_or_unknown("grade")
        if value is None:
            return None
        match = re.fullmatch(r"grade([1-9]|1[0-2])", value)
        if match is None:
            raise self.broken("grade", f"is {short(value)}, must be grade1 to grade12, or null if unknown")
        return int(match[1])

    def subject(self) -> str | None:
        value = self.text_or_unknown("subject")
        if value is not None and value not in SUBJECTS:
            raise self.broken("subject", f"is {short(value)}, must be one of {', '.join(SUBJECTS)}, or null")
        return value

    def _text(self, field: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.broken(field, f"must be text, is {_json_type(value)}")
        if len(value) > MAX_TEXT:
            raise self.broken(field, f"has {len(value):,} characters, at most {MAX_TEXT:,} are read")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise self.broken(field, "is not valid Unicode (half of a surrogate pair)") from None
        return value


def problem_from_fields(
    fields: Fields,
    *,
    pid: str,
    split: str,
    image: ImageSource | None,
    choice_images: tuple[ImageSource, ...] = (),
    caption: str | None = None,
) -> Problem:
    """Build the typed problem. Its pictures come from the caller, as each storage form keeps them in its own way.

    Raises:
        BrokenProblem: a field is missing, of the wrong type or out of range.
    """
    choices = fields.choices()
    return Problem(
        pid=pid,
        split=split,
        question=fields.filled_text("question"),
        choices=choices,
        answer=fields.answer(len(choices)),
        hint=fields.text_or_unknown("hint"),
        image=image,
        choice_images=choice_images,
        grade=fields.grade(),
        subject=fields.subject(),
        topic=fields.text_or_unknown("topic"),
        category=fields.text_or_unknown("category"),
        skill=fields.text_or_unknown("skill"),
        task=fields.text_or_unknown("task"),
        lecture=fields.text_or_unknown("lecture"),
        solution=fields.text_or_unknown("solution"),
        caption=caption,
    )


def _json_type(value: object) -> str:
    """Describe a JSON value by its type, with the value itself where it is short."""
    name = {
        type(None): "null",
        bool: "true or false",
        str: "text",
        list: "a list",
        dict: "an object",
    }.get(type(value), "a number")
    return f"{name} ({short(value)})" if isinstance(value, (str, int, float)) else name
