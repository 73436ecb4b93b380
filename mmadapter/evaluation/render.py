"""Render the table of results for a terminal, as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd

from mmadapter.errors import printable
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, two_decimals
from mmadapter.evaluation.grid import DASH, Grid, format_grid, p_digits
from mmadapter.evaluation.predictions import AS_FILED
from mmadapter.evaluation.reliance import controls_grids, controls_record
from mmadapter.evaluation.table import ResultTable, Row

FORMATS = ("table", "markdown", "latex", "csv", "json")
COMPARED = ("points", "95 % from", "to", "p", "p Holm")
TEST_QUESTIONS = 4241
"""Size of ScienceQA's test split, which published rows are over."""


def render(table: ResultTable, form: str = "table", *, terminal: bool = False) -> str:
    """Render the table in one of `FORMATS`, ending in a newline.

    Args:
        table: of `result_table`.
        form: `table`, `markdown`, `latex` (booktabs), `csv` or `json`. The best number of a column is marked
            in the first three. CSV and JSON hold numbers; JSON names the best, and it alone has the known part
            of a column with a dash. CSV is the one table without comparisons and controls.
        terminal: `table` may use a terminal's colours and width; else a star marks the best.
    """
    if form == "csv":
        return _csv(table)
    if form == "json":
        return _json(table)
    controls = [grid for each in table.controls for grid in controls_grids(each)]
    grids = (_results(table), *comparison_grids(table), *controls)
    return "\n".join(format_grid(grid, form, terminal=terminal) for grid in grids)


def _results(table: ResultTable) -> Grid:
    best = table.best()
    sources = list(dict.fromkeys(row.source for row in table.published))
    counts = table.counts()
    n = [DASH if unknown else str(n) for n, unknown in zip(counts["n"], counts["unknown"], strict=True)]
    rows, marked, faint, breaks = [("questions", *n, "", "", "")], set(), {0}, {0}
    for row in (*table.rows, *table.published):
        marked |= {
            (len(rows), 1 + i)
            for i, column in enumerate(TABLE_COLUMNS)
            if column in best and (digits := row.digits[column]) and float(digits) == float(best[column])
        }
        provenance = ("", "", f"[{sources.index(row.source) + 1}]") if row.rule is None else _provenance(row)
        rows.append((row.name, *(row.digits[column] or DASH for column in TABLE_COLUMNS), *provenance))
        if row.intervals is not None:
            for label, bound in (("  95 % from", "low"), ("  to", "high")):
                faint.add(len(rows))
                cells = (DASH if pd.isna(x) else f"{x:.2f}" for x in row.intervals[bound])
                rows.append((label, *cells, "", "", ""))
        if table.published and row is table.rows[-1]:
            breaks.add(len(rows) - 1)
    return Grid(
        title=f"{table.title}: {table.n_questions():,} questions, accuracy in percent",
        headers=("", *TABLE_COLUMNS, "unparsed", "random credit", "rule"),
        rows=tuple(rows),
        best=frozenset(marked),
        faint=frozenset(faint),
        breaks=frozenset(breaks),
        notes=result_notes(table, sources),
    )


def _provenance(row: Row) -> tuple[str, str, str]:
    rule = row.rule or DASH
    if row.unparsed is None:
        return DASH, DASH, rule
    return str(row.unparsed), f"{row.random_credit:.2f}", rule


def result_notes(table: ResultTable, sources: list[str]) -> tuple[str, ...]:
    """Notes for the reader of a table; the sources of published rows come last."""
    notes = []
    if any(digits is None for row in table.rows for digits in row.digits.values()):
        notes.append(f"{DASH} no such question, or not known of every question whether it is one")
    if any(row.unparsed is not None for row in table.rows):
        notes.append("random credit: what a random option for each unparsed answer would be worth, in points")
    if any(row.rule == AS_FILED for row in table.rows):
        notes.append(f"{AS_FILED}: the file's own indices, its producer's guesses included")
    if table.published and table.n_questions() != TEST_QUESTIONS:
        notes.append(f"published rows are over the {TEST_QUESTIONS:,} test questions of ScienceQA, not over these")
    return (*notes, *(f"[{i}] {source}" for i, source in enumerate(sources, start=1)))


def comparison_grids(table: ResultTable) -> list[Grid]:
    """One table for each pair of systems, if intervals were asked for."""
    return [
        comparison_grid(compared, a, b, title=f"{a} minus {b}, question by question")
        for (a, b), compared in table.comparisons.items()
    ]


def comparison_grid(compared: pd.DataFrame, a: str, b: str, *, title: str) -> Grid:
    """Show a comparison of two systems, one row a class."""
    return Grid(
        title=title,
        headers=("", "n", "both right", f"only {a}", f"only {b}", "both wrong", *COMPARED),
        rows=tuple(
            (
                str(name),
                *(str(row[key]) for key in ("n", "both_right", "only_a", "only_b", "both_wrong")),
                *(f"{row[key]:+.2f}" for key in ("difference", "low", "high")),
                *(p_digits(row[key]) for key in ("p", "p_holm")),
            )
            for name, row in compared.astype(object).iterrows()
        ),
        notes=("p: McNemar's test, exact; Holm: corrected for all rows but Avg; interval: paired bootstrap",),
    )


def _csv(table: ResultTable) -> str:
    bounds = ("low", "high") if table.rows[0].intervals is not None else ()
    limits = [f"{column} {bound}" for column in TABLE_COLUMNS for bound in bounds]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["system", *TABLE_COLUMNS, *limits, "n", "unparsed", "random_credit", "rule", "source"])
    for row in (*table.rows, *table.published):
        cells = pd.DataFrame() if row.intervals is None else row.intervals
        values = [cells[bound].get(column) if bound in cells else None for column in TABLE_COLUMNS for bound in bounds]
        writer.writerow(
            [printable(row.name), *(row.digits[column] for column in TABLE_COLUMNS)]
            + [None if value is None or pd.isna(value) else f"{value:.2f}" for value in values]
            + [None if row.scores is None else row.scores.loc["Avg", "n"], row.unparsed]
            + [None if row.random_credit is None else f"{row.random_credit:.2f}", row.rule, printable(row.source)]
        )
    return out.getvalue()


def _json(table: ResultTable) -> str:
    content = {
        "title": table.title,
        "n": table.n_questions(),
        "systems": [system_record(row) for row in table.rows],
        "published": [{"name": row.name, "digits": row.digits, "source": row.source} for row in table.published],
        "best": table.best(),
        "comparisons": [
            {
                "a": a,
                "b": b,
                "columns": {
                    name: {key: None if pd.isna(value) else value for key, value in row.items()}
                    for name, row in compared.astype(object).to_dict(orient="index").items()
                },
            }
            for (a, b), compared in table.comparisons.items()
        ],
        "controls": [controls_record(controls) for controls in table.controls],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def system_record(row: Row) -> dict[str, object]:
    """A scored row for JSON: null where the table has a dash, with the known part and its n."""
    assert row.scores is not None  # only a published row has none
    columns = {}
    for name, score in row.scores.astype(object).iterrows():
        known = {"accuracy": _number(score["known_accuracy"]), "n": score["n"], "correct": score["correct"]}
        if score["unknown"]:
            columns[name] = {"accuracy": None, "unknown": score["unknown"], "known": known}
        else:
            columns[name] = known
            if row.intervals is not None:
                columns[name]["interval"] = [_number(x) for x in row.intervals.loc[name]]
    return {
        "name": row.name,
        "rule": row.rule,
        "source": row.source,
        "unparsed": row.unparsed,
        "random_credit": _number(row.random_credit),
        "calibration_error": None if row.calibration_error is None else round(row.calibration_error, 4),
        "columns": columns,
    }


def _number(value: float | None) -> float | None:
    """Round to two decimals as in the tables; null where there is no number."""
    return None if value is None or pd.isna(value) else two_decimals(value)
