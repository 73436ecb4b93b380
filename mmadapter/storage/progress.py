"""A progress bar, with an estimate of the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(description: str, total: int, *, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr while the block runs; silent if `quiet` or if stderr is neither a terminal nor a notebook.

    Yields:
        update(done, note=""): sets how much of `total` is done, and a note behind the bar.
    """
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    console = Console(stderr=True)
    silent = quiet or not (console.is_terminal or console.is_jupyter)
    with progress.Progress(*columns, console=console, disable=silent) as bar:
        task = bar.add_task(description, total=total, note="")
        yield lambda done, note="": bar.update(task, completed=done, note=note)
