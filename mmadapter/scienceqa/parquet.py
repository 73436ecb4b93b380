"""ScienceQA as the Hugging Face hub stores it (`derek-thomas/ScienceQA`, `lmms-lab/ScienceQA`).

Each split is one table or several, `{train,validation,test}-00000-of-00001-<hash>.parquet`, in `data/` or directly in
the folder. The columns are the fields of `problems.json` without `split`; `image` is the picture itself,
struct<bytes, path>. Pids, the options' pictures and captions are missing.

The rows are in the order of the original `pid_splits.json`, ids sorted as numbers. If that file lies in the folder, the
pids come from it. All that can be checked without the original texts is that it lists as many pids as there are rows.
Without the file a pid is `<split>-<row>`, such as "test-5", counted over the split: unique and stable, but no other
system's predictions will know it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from mmadapter.errors import UserError
from mmadapter.scienceqa.layout import read_splits
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import MAX_IMAGE_BYTES, SPLITS, BrokenProblems, Fields, OnError, problem_from_fields
from mmadapter.storage.tables import MAX_ROW_GROUP, is_plain, record_batches, table_errors

REQUIRED = ("question", "choices", "answer", "image")
UNKNOWN_IF_ABSENT = ("hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution")
"""Columns that some copies of the data set leave out; their fields are then unknown (None)."""
MAX_ROWS = 200_000
"""Rows in one table. All of ScienceQA has 21,208 questions."""

_NAME = re.compile(r"(train|validation|val|test)(?:-(\d{5})-of-(\d{5}).*)?\.parquet")


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """A picture in one cell of a table."""

    file: Path
    row_group: int
    row: int
    """Within the row group."""

    @property
    def where(self) -> str:
        return f"{self.file}: row group {self.row_group}, row {self.row}"

    def read(self) -> bytes:
        """Return the encoded image; a UserError if it exceeds MAX_IMAGE_BYTES or the table has changed since."""
        cells = _image_bytes(self.file, self.row_group)
        data = cells[self.row].as_py() if self.row < len(cells) else None
        if data is None:
            raise UserError(f"{self.where}: has no picture any more")
        if len(data) > MAX_IMAGE_BYTES:
            raise UserError(f"{self.where}: has {len(data):,} bytes, at most {MAX_IMAGE_BYTES:,} are read")
        return data


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """Find the tables of each split in `folder` or its `data/`, shards in order; none is no error.

    Raises:
        UserError: a shard of a split is missing.
    """
    found: dict[str, list[Path]] = {}
    shards: dict[str, int] = {}
    for file in sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet")):
        if match := _NAME.fullmatch(file.name):
            split = "val" if match[1] == "validation" else match[1]
            found.setdefault(split, []).append(file)
            shards[split] = int(match[3] or 1)
    for split, files in found.items():
        if len(files) != shards[split]:
            where = files[0].parent
            raise UserError(f"{where}: {split} has {len(files)} parquet files, their names say {shards[split]}")
    return {split: found[split] for split in SPLITS if split in found}


def read_parquet(folder: Path, *, on_error: OnError = "stop") -> Dataset:
    """Read the problems of the tables in `folder`, in row order; the module's docstring says where pids come from.

    Raises:
        UserError: a table is unreadable or lacks a column, or `pid_splits.json` does not fit the tables; with
            `on_error="stop"` also the first broken problem.
    """
    broken = BrokenProblems(on_error)
    split_file = folder / "pid_splits.json"
    listed = read_splits(split_file, broken) if split_file.exists() else {}
    splits = dict(listed)
    problems: dict[str, Problem] = {}
    for split, files in parquet_files(folder).items():
        rows = [row for file in files for row in _rows(file)]
        splits[split] = _pids(folder, split, len(rows), listed)
        members = {name: frozenset(pids) for name, pids in splits.items()}
        for pid, row in zip(splits[split], rows, strict=True):
            with broken.caught(pid, (name for name, pids in members.items() if pid in pids)):
                fields = Fields(row.raw, f"{row.cell.where} (pid {pid})")
                if row.has_path and not row.has_bytes:
                    raise fields.broken("image", "has a path but no bytes")
                image = row.cell if row.has_bytes else None
                problems[pid] = problem_from_fields(fields, pid=pid, split=split, image=image)
    known = {name: tuple(pid for pid in pids if pid in problems) for name, pids in splits.items()}
    # A list over tables that are not here is no split.
    return Dataset(folder.name, problems, {name: pids for name, pids in known.items() if pids}, tuple(broken.skipped))


class _Row(NamedTuple):
    raw: dict[str, object]
    cell: ParquetImage
    has_bytes: bool
    has_path: bool


def _pids(folder: Path, split: str, n_rows: int, listed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if not listed:
        return tuple(f"{split}-{row}" for row in range(n_rows))
    pids = listed.get(split, ())
    if len(pids) != n_rows:
        raise UserError(
            f"{folder}: {split} has {n_rows:,} rows, but pid_splits.json lists {len(pids):,} pids"
            "\n  without pid_splits.json the rows are numbered instead"
        )
    return pids


def _rows(file: Path) -> Iterator[_Row]:
    """Read the rows, one row group at a time, without their pictures; only whether there is one is kept."""
    with table_errors(file), pyarrow.parquet.ParquetFile(file) as table:
        columns = _columns(file, table.schema_arrow)
        n_rows = 0
        unknown = dict.fromkeys(set(UNKNOWN_IF_ABSENT) - set(columns))
        for group in range(table.num_row_groups):
            batches = record_batches(table, str(file), columns, groups=[group])
            raws = [row for batch in batches for row in batch.to_pylist()]
            images = list(_presence(file, table, group))
            if len(raws) != len(images):
                raise UserError(f"{file}: row group {group}: its columns have different lengths")
            if (n_rows := n_rows + len(raws)) > MAX_ROWS:
                raise UserError(f"{file}: has more than {MAX_ROWS:,} rows")
            for row, (raw, (has_bytes, has_path)) in enumerate(zip(raws, images, strict=True)):
                yield _Row(raw | unknown, ParquetImage(file, group, row), has_bytes, has_path)


def _columns(file: Path, schema: pyarrow.Schema) -> list[str]:
    """Return the columns of texts and numbers that the table has."""
    if double := [name for name in (*REQUIRED, *UNKNOWN_IF_ABSENT) if schema.names.count(name) > 1]:
        raise UserError(f"{file}: two columns {', '.join(double)}")
    if missing := [name for name in REQUIRED if name not in schema.names]:
        raise UserError(f"{file}: no column {', '.join(missing)}; ScienceQA on the hub has {', '.join(REQUIRED)}")
    image = schema.field("image").type
    if not pyarrow.types.is_struct(image) or not {"bytes", "path"} <= {field.name for field in image.fields}:
        raise UserError(f"{file}: column image is {str(image)[:60]}, must be struct<bytes, path>")
    encoded = image.field("bytes").type
    if not (pyarrow.types.is_binary(encoded) or pyarrow.types.is_large_binary(encoded)):
        raise UserError(f"{file}: column image.bytes is {str(encoded)[:60]}, must be binary")
    columns = [name for name in (*REQUIRED, *UNKNOWN_IF_ABSENT) if name in schema.names and name != "image"]
    for name in columns:
        if not is_plain(kind := schema.field(name).type):
            raise UserError(f"{file}: column {name} is {str(kind)[:60]}, must be texts or numbers")
    return columns


def _presence(file: Path, table: pyarrow.parquet.ParquetFile, group: int) -> Iterator[tuple[bool, bool]]:
    """Tell for each row of a row group whether its image has bytes, and whether it has a path."""
    # In small batches: the pictures pass through memory, and a whole row group of them may not fit.
    for batch in record_batches(table, str(file), ["image"], groups=[group], at_most=MAX_ROW_GROUP):
        image = batch.column("image")
        present = (image.field(name).is_valid().to_pylist() for name in ("bytes", "path"))
        yield from zip(*present, strict=True)


@lru_cache(maxsize=2)  # pictures are read in row order: one row group is in use, two at its end
def _image_bytes(file: Path, row_group: int) -> list[pyarrow.Scalar]:
    with table_errors(file), pyarrow.parquet.ParquetFile(file) as table:
        if row_group >= table.num_row_groups:
            raise UserError(f"{file}: has no row group {row_group} any more")
        batches = record_batches(table, str(file), ["image.bytes"], groups=[row_group], at_most=MAX_ROW_GROUP)
        return [cell for batch in batches for cell in batch.column("image").field("bytes")]
