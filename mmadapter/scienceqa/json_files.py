"""JSON files from elsewhere, read so that every defect has a name: size, encoding, syntax, repeated keys."""

import json
from collections import Counter
from pathlib import Path

from mmadapter.errors import UserError

MAX_JSON_BYTES = 1 << 30
"""1 GiB. ScienceQA's whole problems.json has about 30 MB."""


class RepeatedKeys(dict):
    """A JSON object in which some keys occur more than once; JSON itself would silently keep the last."""

    def __init__(self, pairs: list[tuple[str, object]]):
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = [key for key, count in counts.items() if count > 1]


def repeated_keys(parsed: object) -> list[str]:
    """The keys that occur more than once in an object of `read_json_object`."""
    return parsed.repeated if isinstance(parsed, RepeatedKeys) else []


def read_json_object(file: Path) -> dict[str, object]:
    """The object in `file`; it, and any object in it, is a `RepeatedKeys` if it repeats a key.

    Raises:
        UserError: no such file, more than MAX_JSON_BYTES, not UTF-8, not JSON, not an object.
    """
    try:
        size = file.stat().st_size
        if size > MAX_JSON_BYTES:
            raise UserError(f"{file}: has {size:,} bytes, at most {MAX_JSON_BYTES:,} are read")
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    try:
        parsed = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}: line {line}: byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: line {error.lineno}, column {error.colno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; nesting of thousands
        raise UserError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{file}: must hold one JSON object {{...}}")
    return parsed


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else RepeatedKeys(pairs)
