"""ScienceQA as the Hugging Face hub stores it (`derek-thomas/ScienceQA`, `lmms-lab/ScienceQA`).

One table a split, `{train,validation,test}-00000-of-00001-<hash>.parquet`, in `data/` or directly in the
folder. Its columns are the fields of `problems.json` without `split`, and `image` is the picture itself,
struct<bytes, path>. Three things are lost there: pids, the options' pictures, and captions.

pids. The rows stand in the order of the original `pid_splits.json` (ids sorted as numbers), so where that
file lies in the folder it gives the pids back; the number of rows must be the number it lists, and that is
all that can be verified without the original texts. Without it a pid is `<split>-<row>`, such as "test-5",
counted over the split: unique and stable, but no other system's predictions will know it.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from mmadapter.scienceqa.records import (
    SPLITS,
    BrokenProblems,
    Fields,
    OnError,
    problem_from_fields,
)

REQUIRED = ("question", "choices", "answer", "image")
UNKNOWN_IF_ABSENT = (
    "hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"
)  # fmt: skip
"""Copies of the data set leave some of these columns out: their fields are then unknown (None)."""

_NAME = re.compile(r"(train|validation|val|test)(?:-(\d{5})-of-(\d{5}).*)?\.parquet")


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """A picture that is one cell of a table."""

    file: Path
    row_group: int
    row: int
    """Within the row group."""

    @property
    def where(self) -> str:
        return f"{self.file}: row group {self.row_group}, row {self.row}"

    def read(self) -> bytes:
        """The encoded image; a UserError where the table cannot be read any more."""
        return _image_bytes(self.file, self.row_group)[self.row].as_py()


def parquet_files(folder: Path) -> dict[str, list[Path]]:
    """The tables of each split in `folder` or its `data/`, shards in order; empty if there are none.

    Raises:
        UserError: a shard of a split is missing.
    """
    found: dict[str, list[Path]] = {}
    shards: dict[str, int] = {}
    for file in sorted(folder.glob("*.parquet")) or sorted((folder / "data").glob("*.parquet")):
        match = _NAME.fullmatch(file.name)
        if match is not None:
            split = "val" if match[1] == "validation" else match[1]
            found.setdefault(split, []).append(file)
            shards[split] = int(match[3] or 1)
    for split, files in found.items():
        if len(files) != shards[split]:
            raise UserError(
                f"{files[0].parent}: {split} has {len(files)} parquet files, their names say {shards[split]}"
            )
    return {split: found[split] for split in SPLITS if split in found}


def read_parquet(folder: Path, *, on_error: OnError = "stop") -> Dataset:
    """The problems of the tables in `folder`, in row order; see the module about their pids.

    Raises:
        UserError: a table is unreadable or lacks a column, `pid_splits.json` does not fit the tables;
            with `on_error="stop"` also the first broken problem.
    """
    broken = BrokenProblems(on_error)
    listed = _listed_pids(folder, broken)
    splits = dict(listed)
    problems: dict[str, Problem] = {}
    for split, files in parquet_files(folder).items():
        rows = [row for file in files for row in _rows(file)]
        splits[split] = _pids(folder, split, len(rows), listed)
        for pid, row in zip(splits[split], rows, strict=True):
            with broken.caught():
                problems[pid] = _problem(row, pid, split)
    known = {name: tuple(pid for pid in pids if pid in problems) for name, pids in splits.items()}
    # A list over tables that are not here names nothing, and is no split.
    return Dataset(folder.name, problems, {name: pids for name, pids in known.items() if pids}, tuple(broken.skipped))


class _Row(NamedTuple):
    raw: dict[str, object]
    cell: ParquetImage
    has_bytes: bool
    has_path: bool


def _problem(row: _Row, pid: str, split: str) -> Problem:
    fields = Fields(row.raw, f"{row.cell.where} (pid {pid})")
    if row.has_path and not row.has_bytes:
        raise fields.broken("image", "has a path but no bytes")
    return problem_from_fields(fields, pid=pid, split=split, image=row.cell if row.has_bytes else None)


def _listed_pids(folder: Path, broken: BrokenProblems) -> dict[str, tuple[str, ...]]:
    file = folder / "pid_splits.json"
    return read_splits(file, broken) if file.exists() else {}


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
    """The rows without their pictures, of which only the presence is noted: a few thousand at a time."""
    with _readable(file), pyarrow.parquet.ParquetFile(file) as table:
        columns = _columns(file, table.schema_arrow)
        unknown = dict.fromkeys(set(UNKNOWN_IF_ABSENT) - set(columns))
        for group in range(table.num_row_groups):
            raws = table.read_row_group(group, columns=columns).to_pylist()
            images = _presence(table, group)
            for row, (raw, (has_bytes, has_path)) in enumerate(zip(raws, images, strict=True)):
                yield _Row(raw | unknown, ParquetImage(file, group, row), has_bytes, has_path)


def _columns(file: Path, schema: pyarrow.Schema) -> list[str]:
    """The columns of text and numbers that are there."""
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise UserError(f"{file}: no column {', '.join(missing)}; ScienceQA on the hub has {', '.join(REQUIRED)}")
    image = schema.field("image").type
    if not pyarrow.types.is_struct(image) or not {"bytes", "path"} <= {field.name for field in image.fields}:
        raise UserError(f"{file}: column image is {image}, must be struct<bytes, path>")
    return [name for name in (*REQUIRED, *UNKNOWN_IF_ABSENT) if name in schema.names and name != "image"]


def _presence(table: pyarrow.parquet.ParquetFile, group: int) -> Iterator[tuple[bool, bool]]:
    """For each row of a row group: has the image bytes, and a path?"""
    # Small batches: the pictures pass through memory, a row group of them may not fit.
    for batch in table.iter_batches(batch_size=64, row_groups=[group], columns=["image"]):
        image = batch.column("image")
        present = (image.field(name).is_valid().to_pylist() for name in ("bytes", "path"))
        yield from zip(*present, strict=True)


@lru_cache(maxsize=2)  # pictures are read in row order: one row group is in use, and one around its end
def _image_bytes(file: Path, row_group: int) -> pyarrow.ChunkedArray:
    with _readable(file), pyarrow.parquet.ParquetFile(file) as table:
        column = table.read_row_group(row_group, columns=["image.bytes"]).column("image")
    return pyarrow.compute.struct_field(column, "bytes")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as parquet: {error}") from error
