"""Contenders timed in alternation, and the dated file and table that say what came out on which machine."""

from __future__ import annotations

import gc
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import psutil
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from mmadapter.storage.files import write_text

ROOT = Path(__file__).parent.parent
PACKAGES = ("mmadapter", "torch", "transformers", "accelerate", "peft", "litgpt", "open_clip_torch", "numpy")


@dataclass(frozen=True)
class Quartiles:
    """Of the rounds of one contender."""

    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quartiles:
        return cls(*np.quantile(values, [0.25, 0.5, 0.75]).tolist())

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.q1)} to {number(self.q3)})"


@dataclass(frozen=True)
class Table:
    """Rows of one table: by column a name, a number or the quartiles of the rounds. All rows have the same columns."""

    title: str
    rows: list[dict[str, str | float | Quartiles | None]]


def number(value: float) -> str:
    """Three digits, and all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def alternate(
    works: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds: float,
    synchronise: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every work in every round, after one round that is not counted.

    All works are done once a round, each round starting with the next of them: what the machine does besides
    meets all of them alike, and round i of one can be divided by round i of another.

    Args:
        rounds: how many are counted.
        seconds: no further round is begun after so many; one always is.
        synchronise: waits until a device has done what it was told.
    """
    names = list(works)
    spent: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.freeze()  # what exists now need not be looked through before every work
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
    """Of `amount` units of work a second."""
    return Quartiles.of([amount / second for second in seconds])


def ratios(over: Sequence[float], under: Sequence[float]) -> Quartiles:
    """Of two works, round by round."""
    return Quartiles.of([a / b for a, b in zip(over, under, strict=True)])


def fastest(spent: Mapping[str, Sequence[float]], prefix: str) -> str:
    """The work of least median time among those whose name starts with `prefix`."""
    return min((name for name in spent if name.startswith(prefix)), key=lambda name: np.median(spent[name]))


def publish(benchmark: str, settings: object, workload: Mapping[str, object], tables: Sequence[Table]) -> None:
    """Print the tables and, unless `settings.output` is None, write DATE-MACHINE-BENCHMARK.json and .md there."""
    record = {
        "benchmark": benchmark,
        "command": f"python -m benchmarks.{benchmark} {' '.join(_public(sys.argv[1:]))}".strip(),
        **provenance(getattr(settings, "device", "cpu")),
        "changed_since_commit": bool(git("status", "--porcelain", "--untracked-files=no", "--", "mmadapter")),
        "settings": {name: value for name, value in asdict(settings).items() if not isinstance(value, Path)},
        "workload": dict(workload),
        "tables": [asdict(table) for table in tables],
    }
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables:
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
        for column, value in table.rows[0].items():
            shown.add_column(column, justify="left" if isinstance(value, str) else "right")
        for row in table.rows:
            shown.add_row(*map(_cell, row.values()))
        console.print(shown)
    if settings.output is None:
        return
    kind = "-".join(filter(None, [record["machine"]["class"], benchmark, getattr(settings, "tag", "")]))
    path = Path(settings.output) / f"{record['date']}-{kind}.json"
    write_text(path, json.dumps(record, indent=1, default=str) + "\n")
    write_text(path.with_suffix(".md"), markdown(record, tables))
    print(path.with_suffix(".md"))


def markdown(record: Mapping[str, object], tables: Sequence[Table]) -> str:
    """The record as a page."""
    described = {**record["machine"], **record["workload"]}
    lines = [f"# {record['benchmark']}, {record['date']}", "", f"    {record['command']}", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in described.items() if value is not None]
    lines += [f"- commit: {record['commit']}{', changed since' if record['changed_since_commit'] else ''}"]
    lines += ["- " + ", ".join(f"{name} {found}" for name, found in record["versions"].items())]
    for table in tables:
        columns = list(table.rows[0])
        lines += ["", f"## {table.title}", "", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
        lines += [f"| {' | '.join(map(_cell, row.values()))} |" for row in table.rows]
    return "\n".join(lines) + "\n"


def machine(device: str) -> dict[str, str | int | float | None]:
    """What the numbers depend on; no name and no address of it."""
    import torch

    processor = _processor()
    cores = psutil.cpu_count()
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "class": _slug(gpu) if gpu else f"{cores}-core-{_slug(processor)}",
        "processor": processor,
        "logical cores": cores,
        "threads": torch.get_num_threads(),
        "memory GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "GPU": gpu,
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "load before": round(psutil.getloadavg()[0], 2) if hasattr(psutil, "getloadavg") else None,
    }


def provenance(device: str) -> dict[str, object]:
    """When, on which machine, with which versions and from which commit."""
    return {
        "date": date.today().isoformat(),
        "machine": machine(device),
        "versions": versions(),
        "commit": git("rev-parse", "--short", "HEAD"),
    }


def versions() -> dict[str, str]:
    """Of the packages that do the work; one that is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return number(value) if isinstance(value, float) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _slug(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", re.sub(r"\(.*?\)|\b(cpu|processor|nvidia|with|\d+-core)\b", " ", name.lower()))
    return "-".join(words[:3])


def _public(arguments: Sequence[str]) -> list[str]:
    """The command line without folders of this machine."""
    return [argument for argument in arguments if not re.search(r"(^|=)[/~.]", argument) and argument != "--output"]


def git(*arguments: str) -> str | None:
    """What git says of this clone; None without git, or outside one."""
    try:
        told = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
