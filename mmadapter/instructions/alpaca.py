"""Alpaca's format (tatsu-lab/stanford_alpaca): a JSON list of {"instruction", "input", "output"}.

The format has no splits. The first 200 records are `val`, those that the authors of LLaMA-Adapter look at; the rest
are `train`.
"""

from __future__ import annotations

from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import BrokenProblem, BrokenProblems, Fields, OnError
from mmadapter.storage.untrusted import parse_json, read_bytes, repeated_keys

FILE = "alpaca_data.json"
"""The 52K records under their published name."""
VALIDATING = 200
"""Records in `val`, but at most a tenth of all."""


def read_alpaca(path: Path, *, on_error: OnError = "stop") -> Dataset:
    """Read a JSON file, or `alpaca_data.json` in a folder; a record's pid is its number in the file, from 1.

    Raises:
        UserError: no such file, or not a list of at least ten records; with `on_error="stop"` also a record that has
            no instruction, an empty output, or a field that is not text.
    """
    file = path / FILE if path.is_dir() else path
    records = parse_json(read_bytes(file), str(file))
    if not isinstance(records, list):
        raise UserError(f'{file}: must hold a list of {{"instruction": ..., "input": ..., "output": ...}}')
    validating = min(VALIDATING, len(records) // 10)
    if not validating:
        raise UserError(f"{file}: has {len(records)} records; 10 are the fewest, of which one validates")
    broken, problems = BrokenProblems(on_error), {}
    for index, record in enumerate(records):
        pid, split = str(index + 1), "val" if index < validating else "train"
        with broken.caught(pid, [split]):
            problems[pid] = _problem(record, f"{file}: record {pid}", pid, split)
    splits = {name: tuple(pid for pid, p in problems.items() if p.split == name) for name in ("train", "val")}
    if not all(splits.values()):
        raise UserError(f"{file}: no record is left to train on, or none to validate: {broken.skipped[0].where} ...")
    return Dataset("alpaca", problems, splits, tuple(broken.skipped))


def _problem(record: object, where: str, pid: str, split: str) -> Problem:
    if not isinstance(record, dict):
        raise BrokenProblem(where, "must be an object with instruction, input and output")
    fields = Fields(record, where)
    for field in repeated_keys(record):
        raise fields.broken(field, "occurs more than once")
    return Problem(
        pid=pid,
        split=split,
        question=fields.filled_text("instruction"),
        hint=fields.text_if_given("input") or "",
        choices=(fields.filled_text("output"),),
        answer=0,
    )
