"""Files of others, read so that every defect has a name: kind, size, encoding, syntax, repeated keys, types."""

from __future__ import annotations

import io
import json
import math
import pickletools
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from mmadapter.errors import UserError

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch
    from pyarrow.parquet import ParquetFile

MAX_BYTES = 1 << 27
"""128 MiB in one file. ScienceQA's problems.json has 30 MB, 4,241 answers with their reasoning have 50; a JSON text of
this size that is nothing but `[[],[],...]` takes 3 GiB of memory."""
MAX_RECORD = 1 << 24
"""16 MiB in a small one: a configuration, a log, a record of a run."""
BATCH_ROWS = 64
"""Of a table, decoded at a time."""
MAX_PICKLE = 1 << 22
"""4 MiB that say which tensors a file has: those of ViT-bigG, with its optimiser's state, take 1 MB."""
MAX_CLASS_NAME = 200
"""Characters, of a class that a pickle asks for."""
MAX_SHARED = 16
"""Things other than texts and names that a pickle may use once more: each can double what it unfolds to."""
MAX_ROW_GROUP = 1 << 30
"""Bytes of a part of a table that cannot be decoded in smaller ones; those of ScienceQA on the hub have pictures."""


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


def parse_json(data: bytes, where: str, *, line: int = 1) -> Any:
    """The value in a JSON text; each object in it is a `RepeatedKeys` if it repeats a key.

    Args:
        where: the file.
        line: of the file, in which the text begins.

    Raises:
        UserError: not UTF-8, not JSON. NaN and Infinity, which Python writes and JSON has not, are read as numbers.
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


def checked_fields(kind: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values of a dataclass' fields, each of the type that its annotation says; not all need be there.

    Known are bool, int, float (a number, or a text such as `1e-2`, which YAML does not take for one), str, Path (as
    text), Literal, `tuple[X, ...]` (as a list of any length) and `X | None`. Numbers are finite, and int has 64 bits.

    Raises:
        UserError: a name that is no field, or a value of another type.
    """
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in names]:
        told = ", ".join(str(name)[:40] for name in unknown[:5])
        raise UserError(f"{where}: no such setting: {told}\n  settings: {', '.join(names)}")
    for name, value in values.items():
        if not _fits(value, hints[name]):
            raise UserError(f"{where}: {name}: must be {_told(hints[name])}, is {short(value)}")
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


def _told(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(arguments)}"
    if get_origin(hint) is tuple:
        return f"a list, each {_told(arguments[0])}"
    if arguments:
        return " or ".join(map(_told, arguments))
    return {bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}.get(hint, "text")


@contextmanager
def told(where: str) -> Iterator[None]:
    """Whatever a library raises over a damaged model, in one line.

    That is any exception: ZeroDivisionError over no heads, bare Exceptions over a tokenizer's file. Rust's panics are
    not even that.
    """
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{where}: cannot load it: {' '.join(lines[:2])[:300]}") from error


def check_pickle(file: Path) -> None:
    """Refuse a file for `torch.load` that would take it years, even where it may load nothing but weights.

    A pair of one pair twice, and so on for forty levels, has 400 bytes, and is hashed in 2^40 steps where it is a key.

    Raises:
        UserError: it uses more than MAX_SHARED things again, asks for a class by more than MAX_CLASS_NAME characters,
            or is no pickle of at most MAX_PICKLE bytes.
    """
    from torch._C import PyTorchFileReader

    with told(str(file)):
        if archive := zipfile.is_zipfile(file):
            data = PyTorchFileReader(str(file)).get_record("data.pkl")  # as torch.load finds it
        else:  # of before PyTorch 1.6: five pickles one after the other, then the numbers
            with file.open("rb") as beginning:
                data = beginning.read(MAX_PICKLE)
        pickles = io.BytesIO(data[:MAX_PICKLE])
        shared = sum(_used_again(pickles) for _ in range(1 if archive else 5))
    if shared > MAX_SHARED:
        raise UserError(f"{file}: uses {shared} things more than once, at most {MAX_SHARED} are read")


def _used_again(pickle: io.BytesIO) -> int:
    """How often the next pickle takes up again what is neither a text nor a name."""
    made: dict[int, str] = {}
    argument: Any  # of the type that its opcode says
    before, count = "", 0
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name == "MEMOIZE":
            made[len(made)] = before
        elif "PUT" in opcode.name:
            made[argument] = before
        elif opcode.name == "GLOBAL" and len(argument) > MAX_CLASS_NAME:  # PyTorch searches its message, squared
            raise ValueError(f"the name of a class has {len(argument):,} characters")
        else:
            again = opcode.name == "DUP" or ("GET" in opcode.name and made.get(argument) not in _INDIVISIBLE)
            before, count = opcode.name, count + again
    return count


_INDIVISIBLE = ("BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "GLOBAL", "STACK_GLOBAL")


@contextmanager
def told_table_errors(file: Path) -> Iterator[None]:
    """Whatever pyarrow raises over a damaged parquet file, as a `UserError` that names it."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: not a readable parquet file: {reason}") from error


def record_batches(
    table: ParquetFile, where: str, columns: list[str], *, groups: list[int] | None = None, at_most: int = MAX_BYTES
) -> Iterator[RecordBatch]:
    """Some columns of a parquet table, a few rows at a time, valid in every value.

    Args:
        columns: their names; `a.b` is a field of a struct.
        groups: row groups; all of them if None.
        at_most: bytes decoded, counted as they come out: repetition makes petabytes of a few kilobytes.

    Raises:
        UserError: more than `at_most`, or a row group that says it is larger than MAX_ROW_GROUP.
        pyarrow.ArrowException, OSError, UnicodeDecodeError: the table is damaged, or a text is not UTF-8.
    """
    groups = list(range(table.num_row_groups)) if groups is None else groups
    for group in groups:
        # Of the group alone: asked about a damaged column, pyarrow 26 ends the process.
        if (size := table.metadata.row_group(group).total_byte_size) > MAX_ROW_GROUP:
            raise UserError(f"{where}: {size >> 20} MB decoded, at most {MAX_ROW_GROUP >> 20} MB are read at once")
    size = 0
    for batch in table.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=columns):
        size += batch.nbytes
        if size > at_most:
            raise UserError(f"{where}: more than {at_most >> 20} MB decoded are not read")
        batch.validate(full=True)
        yield batch


def is_plain(kind: DataType) -> bool:
    """Whether a column holds texts, numbers or lists of them, which become Python's own without a surprise."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return types.is_null(kind) or any(is_it(kind) for is_it in plain)
