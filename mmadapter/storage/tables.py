"""Parquet files from strangers, read within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mmadapter.errors import UserError
from mmadapter.storage.untrusted import MAX_BYTES

if TYPE_CHECKING:
    import pandas
    from pyarrow import DataType, RecordBatch
    from pyarrow.parquet import ParquetFile

BATCH_ROWS = 64
"""Rows of a table that are decoded at a time."""
MAX_ROW_GROUP = 1 << 30
"""Decoded bytes of a row group; those of ScienceQA on the hub hold pictures."""


@contextmanager
def table_errors(file: Path) -> Iterator[None]:
    """Turn whatever pyarrow raises over a damaged parquet file into a `UserError` that names the file."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{file}: not a readable parquet file: {reason}") from error


def record_batches(
    table: ParquetFile, where: str, columns: list[str], *, groups: list[int] | None = None, at_most: int = MAX_BYTES
) -> Iterator[RecordBatch]:
    """Yield some columns of a parquet table, a few rows at a time, with every value validated.

    Args:
        columns: names; `a.b` is a field of a struct.
        groups: row groups; None for all.
        at_most: decoded bytes, counted while decoding: repetition can make petabytes of a few kilobytes.

    Raises:
        UserError: more than `at_most`, or a row group that claims to be larger than MAX_ROW_GROUP.
        pyarrow.ArrowException, OSError, UnicodeDecodeError: the table is damaged, or a text is not UTF-8.
    """
    groups = list(range(table.num_row_groups)) if groups is None else groups
    for group in groups:
        # The group's total, not the columns' sizes: reading a damaged column's metadata, pyarrow 26 ends the process.
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
    """Tell whether a column holds texts, numbers or lists of them, which convert to Python's types as expected."""
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean)
    return types.is_null(kind) or any(is_it(kind) for is_it in plain)


def read_table(path: Path, columns: Sequence[str]) -> pandas.DataFrame:
    """Read the columns that a parquet file has, each of texts or numbers, `probabilities` of lists of them.

    Raises:
        UserError: the file cannot be read, decodes to more than MAX_BYTES, or has a column of another type.
    """
    import pyarrow
    import pyarrow.parquet

    with table_errors(path), pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
        found = [column for column in columns if schema.names.count(column) == 1]
        for column in found:
            kind = schema.field(column).type
            if not is_plain(kind) or (pyarrow.types.is_nested(kind) and column != "probabilities"):
                raise UserError(f"{path}: column {column} is {str(kind)[:60]}: neither texts nor numbers")
        batches = list(record_batches(file, str(path), found, at_most=MAX_BYTES))
        table = pyarrow.Table.from_batches(batches, pyarrow.schema([schema.field(column) for column in found]))
        return table.to_pandas(ignore_metadata=True)  # the metadata would make pid the index again
