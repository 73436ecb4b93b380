"""A table of finished cells, written for a terminal, in Markdown or in LaTeX."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmadapter.errors import printable
from mmadapter.evaluation.accuracy import TABLE_COLUMNS

if TYPE_CHECKING:
    from rich.text import Text

DASH = "\N{EN DASH}"
"""A cell without a number."""
GAPS = {"": 12, "NAT": 6, "TXT": 6, "G1-6": 6, "unparsed": 7}
"""Minimum widths in a terminal: they set the groups of columns apart and keep names whole."""
FOLDED = {"unparsed": "un-\nparsed", "random credit": "random\ncredit"}


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

    drawn = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    for header in grid.headers:
        drawn.add_column(
            Text(FOLDED.get(header) or printable(header)),
            justify="left" if header in grid.words else "right",
            no_wrap=header in TABLE_COLUMNS,
            min_width=GAPS.get(header),
            overflow="fold",
        )
    for i, row in enumerate(grid.rows):
        cells = (_cell(cell, grid, (i, j), terminal) for j, cell in enumerate(row))
        drawn.add_row(*cells, style="dim" if i in grid.faint else "", end_section=i in grid.breaks)

    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, highlight=False)
    console.width = max(console.width, 100) if terminal else 200  # rich cuts numbers in a narrow one
    console.print(Text(printable(grid.title), style="bold"), "", drawn, sep="\n")
    for note in grid.notes:
        console.print(Text(printable(note), style="dim"))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


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
