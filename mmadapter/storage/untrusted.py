"""Files from others, read so that every defect is named: kind, size, encoding, syntax, repeated keys, types."""

from __future__ import annotations

import json
import math
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mmadapter.errors import UserError, did_you_mean

MAX_BYTES = 1 << 27
"""128 MiB in one file. ScienceQA's problems.json has 30 MB, 4,241 answers with their reasoning have 50 MB. A JSON text
of this size that holds nothing but `[[],[],...]` takes 3 GiB of memory."""
MAX_RECORD = 1 << 24
"""16 MiB in a small file: a configuration, a log, a record of a run."""


class RepeatedKeys(dict):
    """A JSON object in which some keys occur more than once; Python's `json` would silently keep the last."""

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(pairs)
        self.repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def repeated_keys(parsed: object) -> list[str]:
    """Return the keys that occur more than once in an object from `parse_json`."""
    return parsed.repeated if isinstance(parsed, RepeatedKeys) else []


def check_file(file: Path, at_most: int) -> None:
    """Check that a file is regular and not too large. A pipe or a device, as archives can contain, might never end.

    Raises:
        UserError: no such file, not a regular file, more than `at_most` bytes.
    """
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{file}: cannot be read: is not a regular file")
        if about.st_size > at_most:
            raise UserError(f"{file}: has {about.st_size:,} bytes, at most {at_most:,} are read")
    except (OSError, ValueError) as error:  # ValueError: NUL in a name
        raise UserError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_bytes(file: Path, at_most: int = MAX_BYTES) -> bytes:
    """Read a regular file.

    Raises:
        UserError: as `check_file`.
    """
    check_file(file, at_most)
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error


def parse_json(data: bytes, where: str, *, line: int = 1) -> Any:
    """Parse a JSON text that begins in a line of the file `where`; an object that repeats a key is a `RepeatedKeys`.

    NaN and Infinity, which Python writes although JSON does not have them, are read as numbers.

    Raises:
        UserError: not UTF-8, or not JSON.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise UserError(f"{where}: line {line}: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}, column {error.colno}"
        raise UserError(f"{where}: {place}: not valid JSON: {error.msg}\n  is the file complete?") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting of thousands
        raise UserError(f"{where}: line {line}: not valid JSON: {error}") from error


def read_json_object(file: Path, at_most: int = MAX_BYTES) -> dict[str, object]:
    """Read the JSON object in `file`.

    Raises:
        UserError: as `read_bytes` and `parse_json`, or it is not an object.
    """
    parsed = parse_json(read_bytes(file, at_most), str(file))
    if not isinstance(parsed, dict):
        raise UserError(f"{file}: must hold one JSON object {{...}}")
    return parsed


def short(value: object) -> str:
    """Describe any value for a message, in at most 40 characters or so.

    A list or an object is only named: printing it could take forever.
    """
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {'list' if isinstance(value, (list, tuple)) else 'mapping'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a whole number of {value.bit_length():,} bits"
    text = repr(value[:100] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 40 else text[:37] + "..."


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)


def checked_fields(kind: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check values for a dataclass's fields against the annotations; fields may be missing.

    Supported are bool, int, float (a number, or a text such as `1e-2`, which YAML does not read as one), str, Path (as
    text), Literal, `tuple[X, ...]` (as a list of any length) and `X | None`. Numbers are finite, and int has 64 bits.

    Raises:
        UserError: a name that is no field, or a value of another type.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if unknown := [str(name)[:40] for name in values if name not in names]:
        told = ", ".join(name + did_you_mean(name, names) for name in unknown[:5])
        raise UserError(f"{where}: no such setting: {told}\n  settings: {', '.join(names)}")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UserError(f"{where}: {name}: must be {_type_words(hints[name])}, is {short(value)}")
    return {name: float(value) if hints[name] is float else value for name, value in values.items()}


def _fits(value: Any, hint: Any) -> bool:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in arguments
    if get_origin(hint) is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, arguments[0]) for item in value)
    if arguments:
        return any(_fits(value, part) for part in arguments)
    if hint is float:
        return isinstance(value, (int, float, str)) and not isinstance(value, bool) and _is_finite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    return isinstance(value, str if hint is Path else hint)


def _is_finite(value: int | float | str) -> bool:
    try:
        return math.isfinite(float(value))
    except (ValueError, OverflowError):
        return False


def _type_words(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(arguments)}"
    if get_origin(hint) is tuple:
        return f"a list, each {_type_words(arguments[0])}"
    if arguments:
        return " or ".join(map(_type_words, arguments))
    return {bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}.get(hint, "text")


@contextmanager
def loading_errors(where: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged model into a `UserError` of one line.

    It may be any exception: ZeroDivisionError over no heads, a bare Exception over a tokenizer's file, or a panic in
    Rust, which is only a BaseException.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{where}: cannot load it: {' '.join(lines[:2])[:300]}") from error
