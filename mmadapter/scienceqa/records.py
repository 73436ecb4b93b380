"""From a raw record to a typed problem, checked field by field, and the handling of broken records.

Both storage forms (`layout`, `parquet`) bring their records here, so both refuse the same things in the same words.
Field names and types are those of `problems.json`.
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
"""The three disjoint splits; any other list (minitest, trainval, ...) is a selection from them."""
SUBJECTS = ("natural science", "social science", "language science")
"""The paper's NAT, SOC and LAN."""
MAX_TEXT = 100_000
"""Characters in one field. ScienceQA's longest, a lecture, has about 3,000."""
MAX_NAME = 200
"""Characters in a pid, a split's name and a picture's name. ScienceQA's pids have at most five."""
MAX_IMAGE_BYTES = 1 << 26
"""64 MiB in one encoded picture. ScienceQA's largest are below 1 MB."""


class BrokenProblem(UserError):
    """One problem that cannot be used, while the others can."""

    def __init__(self, where: str, reason: str):
        super().__init__(f"{where}: {reason}")
        self.where, self.reason = where, reason


class BrokenProblems:
    """Stop at the first broken problem, or leave broken ones out and count them."""

    def __init__(self, on_error: OnError):
        self._on_error = on_error
        self.skipped: list[Skipped] = []

    @contextmanager
    def caught(self, pid: str | None = None, splits: Iterable[str] | None = None) -> Iterator[None]:
        """Read one problem inside this block, which a `BrokenProblem` ends; `splits` are all that name the problem."""
        try:
            yield
        except BrokenProblem as broken:
            if self._on_error != "skip":
                raise UserError(f"{broken}\n  correct it, or leave it out with --on-error skip") from None
            named = None if splits is None else tuple(splits)
            self.skipped.append(Skipped(broken.where, broken.reason, pid, named))


def checked_name(name: str, where: str) -> str:
    """Return a pid or a split's name, checked so that tables and messages can show it.

    Raises:
        BrokenProblem: it is empty, longer than MAX_NAME, or has control characters.
    """
    if not 1 <= len(name) <= MAX_NAME or printable(name) != name:
        raise BrokenProblem(f"{where} {short(name)}", f"must have 1 to {MAX_NAME} characters, all of them printable")
    return name


class Fields:
    """The raw fields of one problem, checked when they are read."""

    def __init__(self, raw: Mapping[str, object], where: str):
        self._raw, self._where = raw, where  # the file and the problem, for messages

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
        """Return 7 for `"grade7"`."""
        value = self.text_or_unknown("grade")
        if value is None:
            return None
        if match := re.fullmatch(r"grade([1-9]|1[0-2])", value):
            return int(match[1])
        raise self.broken("grade", f"is {short(value)}, must be grade1 to grade12, or null if unknown")

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
    """Return the typed problem; the caller brings its pictures, which each storage form keeps in its own way.

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
        caption=caption,
        **{
            name: fields.text_or_unknown(name) for name in ("topic", "category", "skill", "task", "lecture", "solution")
        },
    )


def _json_type(value: object) -> str:
    """Return the name of a value's type for an author of JSON, with the value where it is short."""
    names = {type(None): "null", bool: "true or false", str: "text", list: "a list", dict: "an object"}
    name = names.get(type(value), "a number")
    return f"{name} ({short(value)})" if isinstance(value, (str, int, float)) else name
