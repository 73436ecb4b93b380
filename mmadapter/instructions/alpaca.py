"""Read Alpaca's format (tatsu-lab/stanford_alpaca): a JSON list of {"instruction", "input", "output"}.

It has no splits: the first 200 records validate (those that the authors of LLaMA-Adapter look at), the rest trains.
"""

from __future__ import annotations

from pathlib import Path

from mmadapter.errors import UserError
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.records import BrokenProblem, BrokenProblems, Fields, OnError
from mmadapter.storage.untrusted import parse_json, read_bytes, repeated_keys

FILE = "alpaca_data.json"
"""The published file of 52K records."""
VALIDATING = 200
"""Size of `val`, but at most a tenth of all records."""


def read_alpaca(path: Path, *, on_error: OnError = "stop") -> Dataset:
    """Read instructions as problems; the pid of a record is its number in the file, from 1.

    Args:
        path: the JSON file, or a folder with `alpaca_data.json`.

    Raises:
        UserError: no such file, not a list of ten records or more; with `on_error="stop"` also the first record
            without an instruction, with an empty output, or with a field that is not text.
    """
    file = path.expanduser()
    file = file / FILE if file.is_dir() else file
    records = parse_json(read_bytes(file), str(file))
    if not isinstance(records, list):
        raise UserError(f'{file}: must hold a list of {{"instruction": ..., "input": ..., "output": ...}}')
    validating = min(VALIDATING, len(records) // 10)
    if not validating:
        raise UserError(f"{file}: has {len(records)} records; 10 are the fewest, of which one validates")
    broken, problems = BrokenProblems(on_error), {}
    for number, record in enumerate(records, 1):
        split = "val" if number <= validating else "train"
        with broken.caught(str(number), [split]):
            problems[str(number)] = _problem(record, f"{file}: record {number}", str(number), split)
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
