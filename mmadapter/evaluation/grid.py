"""A table of finished cells, written for a terminal, in Markdown or in LaTeX."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mmadapter.errors import printable
from mmadapter.evaluation.accuracy import TABLE_COLUMNS

if TYPE_CHECKING:
    from rich.text import Text

DASH = "\N{EN DASH}"
"""A cell without a number."""
WIDE = 200
"""Width of a line that no terminal bounds."""
GAPS = {"NAT": 6, "TXT": 6, "G1-6": 6}
"""Minimum widths in a terminal, which set the groups of columns apart."""
NAME = 12
"""Letters of a name on a line of a terminal; a longer one is folded where there is no room."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table of finished cells, before it has a format."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of the marked cells."""
    faint: frozenset[int] = frozenset()
    """Rows that explain the row above them."""
    breaks: frozenset[int] = frozenset()
    """Rows after which a line is drawn."""
    notes: tuple[str, ...] = ()
    words: frozenset[str] = frozenset({"", "rule"})
    """Headers of the columns that hold words, aligned left; numbers are aligned right."""


def format_grid(grid: Grid, form: str, *, terminal: bool = False) -> str:
    """Return the grid as `table`, `markdown` or `latex` (booktabs), ending in a newline.

    Args:
        terminal: `table` may use a terminal's colours and width; otherwise a star marks the best.
    """
    if form == "table":
        return _text(grid, terminal)
    return {"markdown": _markdown, "latex": _latex}[form](grid)


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[str]], words: Iterable[int] = (0,)) -> str:
    """Return a Markdown table of finished cells; the columns `words` are aligned left, the others right."""
    rule = [":--" if column in words else "--:" for column in range(len(headers))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows))


def p_digits(p: float) -> str:
    """Format a p value for a table."""
    return DASH if math.isnan(p) else f"{p:.3f}" if p >= 0.001 else "<0.001"


def _text(grid: Grid, terminal: bool) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, highlight=False)
    room = console.width if terminal else WIDE
    widths = _widths(grid, room, terminal)
    console.width = max(room, sum(widths) + len(widths) - 1)
    drawn = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for header, width in zip(grid.headers, widths, strict=True):
        justify: Literal["left", "right"] = "left" if header in grid.words else "right"
        drawn.add_column(Text(printable(header)), justify=justify, width=width, overflow="fold")
    for i, row in enumerate(grid.rows):
        cells = (_cell(cell, grid, (i, j), terminal) for j, cell in enumerate(row))
        drawn.add_row(*cells, style="dim" if i in grid.faint else "", end_section=i in grid.breaks)

    console.print(Text(printable(grid.title), style="bold"), "", drawn, sep="\n")
    mark = ("bold" if terminal else "*") + ": the best of its column"
    for note in ([mark] if grid.best else []) + [*grid.notes]:
        console.print(Text(printable(note), style="dim"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _widths(grid: Grid, room: int, terminal: bool) -> list[int]:
    """Return the width of each column: what it holds, or where there is too little room, folded headers and names."""
    least, most = [], []
    for at, header in enumerate(grid.headers):
        cells = max((len(_cell(row[at], grid, (i, at), terminal)) for i, row in enumerate(grid.rows)), default=0)
        least.append(max(min(cells, NAME) if header in grid.words else cells, *map(len, header.split()), 0))
        most.append(max(cells, len(header), GAPS.get(header, 0)))
    spare = room - sum(least) - len(least) + 1
    for at, widest in enumerate(most):  # the first column holds the names
        given = max(0, min(spare, widest - least[at]))
        least[at], spare = least[at] + given, spare - given
    return least


def _cell(text: str, grid: Grid, place: tuple[int, int], terminal: bool) -> Text:
    from rich.text import Text

    best = place in grid.best
    if terminal:
        return Text(printable(text), style="bold green" if best else "")
    starred = grid.best and 1 <= place[1] <= len(TABLE_COLUMNS)
    return Text(printable(text) + ("*" if best else " " if starred else ""))


def _markdown(grid: Grid) -> str:
    def escaped(text: str) -> str:
        # ~ and brackets occur in names and notes, and mean nothing here
        return re.sub(r"([\\`*_|<>])", r"\\\1", printable(text))

    def cells(row: int, texts: Sequence[str]) -> list[str]:
        finished = [escaped(text.strip()) for text in texts]
        return [f"**{cell}**" if (row, column) in grid.best else cell for column, cell in enumerate(finished)]

    words = [column for column, header in enumerate(grid.headers) if header in grid.words]
    rows = [cells(row, texts) for row, texts in enumerate(grid.rows)]
    table = markdown_table([escaped(header) for header in grid.headers], rows, words)
    notes = "\n".join(f"- {escaped(note)}" for note in grid.notes)
    return f"**{escaped(grid.title)}**\n\n{table}\n\n{notes}".rstrip() + "\n"


def _latex(grid: Grid) -> str:
    """Return a booktabs tabular; title and notes are comments."""
    special = str.maketrans(
        {c: rf"\{c}" for c in "#$%&_{}"}
        | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
        | {"<": r"$<$", ">": r"$>$", DASH: "--"}
    )

    def cell(text: str, i: int, j: int) -> str:
        escaped = printable(text).translate(special)
        if escaped.startswith(("[", "*")) and j == 0:
            escaped = "{}" + escaped  # else LaTeX takes it for an argument of the line break above
        if (i, j) in grid.best:
            return rf"\textbf{{{escaped}}}"
        return rf"{{\scriptsize {escaped.strip()}}}" if i in grid.faint and escaped else escaped

    headers = (cell(header, -1, j) for j, header in enumerate(grid.headers))
    align = "".join("l" if header in grid.words else "r" for header in grid.headers)
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(headers) + r" \\", r"\midrule"]
    for i, row in enumerate(grid.rows):
        lines.append(" & ".join(cell(text, i, j) for j, text in enumerate(row)) + r" \\")
        if i in grid.breaks:
            lines.append(r"\midrule")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {printable(note)}" for note in grid.notes)]
    return "\n".join([f"% {printable(grid.title)}", *lines]) + "\n"
