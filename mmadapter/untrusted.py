"""Files of others, read within bounds so that every defect has a name: kind, size, encoding, syntax, repeated keys."""

from __future__ import annotations

import json
import stat
from collections import Counter
from pathlib import Path

from mmadapter.errors import UserError

MAX_BYTES = 1 << 27
"""128 MiB in one file. ScienceQA's problems.json has 30 MB, 4,241 answers with their reasoning have 50; a JSON text of
this size that is nothing but `[[],[],...]` takes 3 GiB of memory."""
MAX_RECORD = 1 << 24
"""16 MiB in a small one: a configuration, a log, a record of a run."""


class RepeatedKeys(dict):
    """A JSON object in which some keys occur more than once; JSON itself would silently keep the last."""

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = [key for key, count in counts.items() if count > 1]


def repeated_keys(parsed: object) -> list[str]:
    """The keys that occur more than once in an object of `parse_json`."""
    return parsed.repeated if isinstance(parsed, RepeatedKeys) else []


def read_bytes(file: Path, at_most: int = MAX_BYTES) -> bytes:
    """The content of a regular file: a pipe or a device, which an archive can hold, might never end.

    Raises:
        UserError: no such file, not a regular one, more than `at_most` bytes.
    """
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode):
            raise UserError(f"{file}: cannot be read: is not a regular file")
        if about.st_size > at_most:
            raise UserError(f"{file}: has {about.st_size:,} bytes, at most {at_most:,} are read")
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # NUL in a name
        raise UserError(f"{file}: cannot be read: {error}") from error


def parse_json(data: bytes, where: str) -> object:
    """The value in a JSON text; each object in it is a `RepeatedKeys` if it repeats a key.

    Args:
        where: the file, and the line if it holds one JSON text a line.

    Raises:
        UserError: not UTF-8, not JSON. NaN and Infinity, which Python writes and JSON has not, are read as numbers.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{where}: line {line}: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise UserError(f"{where}: {place}: not valid JSON: {error.msg}\n  is the file complete?") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting of thousands
        raise UserError(f"{where}: not valid JSON: {error}") from error


def read_json_object(file: Path, at_most: int = MAX_BYTES) -> dict[str, object]:
    """The object in `file`, as `parse_json` gives it.

    Raises:
        UserError: as `read_bytes` and `parse_json`; not an object.
    """
    parsed = parse_json(read_bytes(file, at_most), str(file))
    if not isinstance(parsed, dict):
        raise UserError(f"{file}: must hold one JSON object {{...}}")
    return parsed


def short(value: object) -> str:
    """A value that may be anything, for a message: what it is, and the value itself where it is short.

    A list or an object is only named: printing it may take longer than anybody waits.
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
