"""What the user sees while something takes time: a bar with an estimate on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Task

LINE_SECONDS = 30
"""Between two lines where there is no terminal."""
RATE_SECONDS = 300
"""Over which rate and time left are estimated: long enough to hold a validation too."""


@contextmanager
def progress_bar(description: str, total: int, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show on stderr how far the block is; when it has ended, a line says what was done.

    On a terminal and in a notebook that is a bar, elsewhere a line every half minute. Nothing is shown if `quiet`, or
    where there is nothing to do.

    Yields:
        update(done, note=""): sets how much of `total` is done, and a note behind it.
    """
    from rich import progress
    from rich.console import Console

    if quiet or not total:
        yield lambda done, note="": None
        return
    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=12),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left"),
        progress.TextColumn("{task.fields[note]:.20}"),  # or it would take the bar's place
    )
    shown = console.is_terminal or console.is_jupyter
    with progress.Progress(
        *columns, console=console, disable=not shown, transient=True, speed_estimate_period=RATE_SECONDS
    ) as bar:
        bar.add_task(description, total=total, note="")
        (task,) = bar.tasks
        due = time.monotonic() + LINE_SECONDS

        def update(done: int, note: str = "") -> None:
            nonlocal due
            bar.update(task.id, completed=done, note=note)
            if not shown and time.monotonic() >= due:
                say(f"{description}: {_so_far(task)}")
                due = time.monotonic() + LINE_SECONDS

        yield update
    if task.completed:
        note = f", {task.fields['note']}" if task.fields["note"] else ""
        say(f"{description}: {task.completed:,} of {task.total:,} after {clock(task.elapsed)}{note}")


@contextmanager
def status(text: str, *, quiet: bool = False, lasting: bool = False) -> Iterator[None]:
    """Show on a terminal what the user is waiting for, until the block ends.

    Args:
        lasting: that may be minutes: without a terminal a line says it.
    """
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet)
    if lasting and not quiet and not console.is_terminal:
        say(text)
    with console.status(text) if console.is_terminal else nullcontext():
        yield


def _so_far(task: Task) -> str:
    speed = task.speed or 0.0
    rate = f"{speed:.1f} a second" if speed >= 1 else f"{1 / speed:.1f} s each" if speed else ""
    left = f"{clock(task.time_remaining)} left" if task.time_remaining is not None else ""
    parts = (f"{task.completed:,} of {task.total:,}", rate, left, task.fields["note"])
    return ", ".join(part for part in parts if part)


def clock(seconds: float | int | None) -> str:
    """Format a time as h:mm:ss."""
    return str(timedelta(seconds=round(seconds or 0)))


def say(line: str) -> None:
    """Print a line on stderr."""
    print(line, file=sys.stderr, flush=True)
