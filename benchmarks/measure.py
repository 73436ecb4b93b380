"""Contenders timed in alternation, and the dated record of a benchmark with its tables."""

from __future__ import annotations

import gc
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmadapter.evaluation.grid import Grid, format_grid
from mmadapter.runs.provenance import git, provenance
from mmadapter.storage.files import write_text

RESULTS = Path(__file__).parent / "results"
OURS = "mmadapter, text-only"
WORDS = frozenset({"contender", "what"})
"""Columns that hold words."""


@dataclass(frozen=True)
class Quartiles:
    """Quartiles over the rounds of one contender."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        return cls(*np.quantile(values, [0.25, 0.5, 0.75]).tolist())


@dataclass(frozen=True)
class Table:
    """A table's rows: a word, a number or quartiles by column, with the same columns in all rows."""

    title: str
    rows: list[dict[str, str | float | Quartiles | None]]


class Contender(NamedTuple):
    """One side of a comparison."""

    what: str
    """Its description in the tables."""
    build: Callable
    """Makes it from the settings, the backbone and the questions."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Settings of every benchmark that times something."""

    rounds: int = 5
    """Number of rounds that are timed."""
    seconds: float = 1800
    """Start no further round after so many seconds."""
    output: Path | None = RESULTS
    """Folder of the result file."""

    def synchronise(self) -> None:
        """Wait until the device has finished its work."""

    def spent(self, works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
        """Time works in alternation."""
        return alternate(works, rounds=self.rounds, seconds=self.seconds, synchronise=self.synchronise)


def alternate(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds: float,
    synchronise: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Return the seconds of every work in every round, after one round that is not counted.

    Each round does all works once and starts with the next of them. Other load on the machine so hits all works alike,
    and round i of one work can be divided by round i of another.

    Args:
        rounds: number of counted rounds.
        seconds: no further round starts after this time; at least one is done.
        synchronise: waits until the device has finished its work.
    """
    names = list(works)
    spent: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # the collections below skip what exists now
    started = time.perf_counter()
    for turn in range(-1, rounds):
        if turn > 0 and time.perf_counter() - started > seconds:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            synchronise()
            begin = time.perf_counter()
            works[name]()
            synchronise()
            if turn >= 0:
                spent[name].append(time.perf_counter() - begin)
    gc.unfreeze()
    return spent


def rates(amount: float, seconds: Sequence[float]) -> Quartiles:
    """Return the quartiles of `amount` units of work a second."""
    return Quartiles.of([amount / second for second in seconds])


def ratios(over: Sequence[float], under: Sequence[float]) -> Quartiles:
    """Return the quartiles of the ratio of two works, round by round."""
    return Quartiles.of([a / b for a, b in zip(over, under, strict=True)])


def fastest(spent: Mapping[str, Sequence[float]], prefix: str) -> str:
    """Return the work of least median time among those whose name starts with `prefix`."""
    return min((name for name in spent if name.startswith(prefix)), key=lambda name: np.median(spent[name]))


def comparison(
    spent: Mapping[str, Sequence[float]], unit: str, amount: float, contenders: Mapping[str, Contender]
) -> list[dict[str, str | float | Quartiles | None]]:
    """Return a table's rows: the rate of each contender, its time over the limit's and over ours, and what it does."""
    limit = spent[fastest(spent, "limit")]
    return [
        {
            "contender": name,
            unit: rates(amount, seconds),
            "time over the limit's": ratios(seconds, limit),
            "time over ours": ratios(seconds, spent[OURS]),
            "what": contenders[name].what,
        }
        for name, seconds in spent.items()
    ]


def publish(benchmark: str, settings: object, workload: Mapping[str, object], tables: Sequence[Table]) -> None:
    """Print the tables and, unless `settings.output` is None, write DATE-MACHINE-BENCHMARK.json there."""
    record = {
        "benchmark": benchmark,
        "command": f"python -m benchmarks.{benchmark} {' '.join(_public(sys.argv[1:]))}".strip(),
        **provenance(getattr(settings, "device", "cpu")),
        "changed_since_commit": bool(git("status", "--porcelain", "--untracked-files=no", "--", ".")),
        "settings": {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)},
        "workload": dict(workload),
        "tables": [asdict(table) for table in tables],
    }
    print(shown(record))
    if settings.output is not None:
        kind = "-".join(filter(None, [record["machine"]["class"], benchmark, getattr(settings, "tag", "")]))
        path = settings.output / f"{record['date']}-{kind}.json"
        write_text(path, json.dumps(record, indent=1, default=str) + "\n")
        print(path)


def shown(record: Mapping[str, object]) -> str:
    """Return a record as text: its provenance and its tables."""
    described = {**record["machine"], **record["workload"], "commit": record["commit"], **record["versions"]}
    if record["changed_since_commit"]:
        described["commit"] = f"{record['commit']}, changed since"
    known = ", ".join(f"{name} {_cell(value)}" for name, value in described.items() if value is not None)
    tables = []
    for table in record["tables"]:
        headers = tuple(table["rows"][0])
        rows = tuple(tuple(_cell(row[header]) for header in headers) for row in table["rows"])
        tables.append(format_grid(Grid(title=table["title"], headers=headers, rows=rows, words=WORDS), "table"))
    return "\n".join([f"{record['command']}, {record['date']}", known, "", *tables])


def _cell(value: object) -> str:
    if isinstance(value, dict):  # quartiles
        q1, median, q3 = (_number(value[name]) for name in ("q1", "median", "q3"))
        return f"{median} ({q1} to {q3})"
    return "-" if value is None else _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _public(arguments: Sequence[str]) -> list[str]:
    """The command line without the machine's paths."""
    return [argument for argument in arguments if not re.search(r"(^|=)[/~.]", argument) and argument != "--output"]
