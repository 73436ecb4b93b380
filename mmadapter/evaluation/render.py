"""The table of results as text: for a terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd

from mmadapter.errors import printable
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, digits, two_decimals
from mmadapter.evaluation.grid import DASH, Grid, format_grid, p_digits
from mmadapter.evaluation.predictions import AS_FILED
from mmadapter.evaluation.reliance import controls_grids, controls_record
from mmadapter.evaluation.statistics import OUTCOMES
from mmadapter.evaluation.table import BaselineRow, ResultTable, Row, ScoredRow

FORMATS = ("table", "markdown", "latex", "csv", "json")
COMPARED = ("points", "95 % from", "to", "p", "p Holm")
MOST_COLUMNS = 8
"""Most classes that stand side by side."""
TEST_QUESTIONS = 4241
"""Size of ScienceQA's test split, over which published rows are."""


def render(table: ResultTable, form: str = "table", *, terminal: bool = False) -> str:
    """Return the table in one of `FORMATS`, ending in a newline.

    The best number of a column is marked; CSV does not mark it, JSON names it. CSV leaves out comparisons and
    controls. Only JSON has the known part of a column with a dash.

    Args:
        terminal: `table` may use a terminal's colours and width; otherwise a star marks the best.
    """
    if form == "csv":
        return _csv(table)
    if form == "json":
        return _json(table)
    controls = [grid for controls in table.controls for grid in controls_grids(controls)]
    grids = (_results(table), *class_grids(table), *comparison_grids(table), *gain_grids(table), *controls)
    return "\n".join(format_grid(grid, form, terminal=terminal) for grid in grids)


def _results(table: ResultTable) -> Grid:
    best, publications, scores = table.best(), table.publications(), table.rows[0].scores
    n = (DASH if unknown else str(n) for n, unknown in zip(scores["n"], scores["unknown"], strict=True))
    rows, marked, faint, breaks = [("questions", *n)], set(), {0}, {0}
    for row in (*table.baselines, *table.rows, *table.published):
        if not isinstance(row, BaselineRow):
            marked |= {(len(rows), 1 + at) for at, column in enumerate(TABLE_COLUMNS) if is_best(row, column, best)}
        at = "" if isinstance(row, (ScoredRow, BaselineRow)) else f" [{1 + publications.index(row.source)}]"
        rows.append((row.name + at, *(shown or DASH for shown in row.digits.values())))
        if isinstance(row, (ScoredRow, BaselineRow)) and row.intervals is not None:
            faint |= {len(rows), len(rows) + 1}
            rows.append(("  95 % from", *(digits(x) or DASH for x in row.intervals["low"])))
            rows.append(("  to", *(digits(x) or DASH for x in row.intervals["high"])))
        if row is table.baselines[-1] or (table.published and row is table.rows[-1]):
            breaks.add(len(rows) - 1)
    cited = (f"[{at}] {source}" for at, source in enumerate(publications, start=1))
    return Grid(
        title=f"{table.title}: {table.n_questions():,} questions, accuracy in percent",
        headers=("", *TABLE_COLUMNS),
        rows=tuple(rows),
        best=frozenset(marked),
        faint=frozenset(faint),
        breaks=frozenset(breaks),
        notes=(*_readings(table), *result_notes(table), *cited),
    )


def class_grids(table: ResultTable) -> list[Grid]:
    """Return a table for each kind of further classes: a row a system, or a row a class where there are many."""
    grids = []
    for kind, systems in table.classes.items():
        first = next(iter(systems.values()))
        title = f"by {kind}, accuracy in percent"
        if len(first) > MOST_COLUMNS:
            rows = [
                (str(name), str(n), *(_cell(own.loc[name]) for own in systems.values()))
                for name, n in first["n"].items()
            ]
            grids.append(Grid(title=title, headers=("", "questions", *systems), rows=tuple(rows)))
            continue
        rows, faint, breaks = [("questions", *map(str, first["n"]))], {0}, {0}
        for name, scores in systems.items():
            rows.append((name, *(digits(x) or DASH for x in scores["accuracy"])))
            if "low" in scores:
                faint |= {len(rows), len(rows) + 1}
                rows.append(("  95 % from", *(digits(x) or DASH for x in scores["low"])))
                rows.append(("  to", *(digits(x) or DASH for x in scores["high"])))
            if name == table.baselines[-1].name:
                breaks.add(len(rows) - 1)
        grids.append(
            Grid(
                title=title,
                headers=("", *map(str, first.index)),
                rows=tuple(rows),
                faint=frozenset(faint),
                breaks=frozenset(breaks),
            )
        )
    return grids


def _cell(scores: pd.Series) -> str:
    """Return an accuracy, with its interval if there is one."""
    shown = digits(scores["accuracy"]) or DASH
    if "low" not in scores or pd.isna(scores["low"]):
        return shown
    return f"{shown} ({digits(scores['low'])} to {digits(scores['high'])})"


def _readings(table: ResultTable) -> list[str]:
    """Return by which rule the answers of each system were read, and what it could not read."""
    read: dict[str, list[str]] = {}
    for row in table.rows:
        unread = "" if row.unparsed is None else f", {row.unparsed} unparsed, random credit {digits(row.random_credit)}"
        read.setdefault(f"rule {row.rule}{unread}", []).append(row.name)
    return [f"{', '.join(names)}: {how}" for how, names in read.items()]


def is_best(row: Row, column: str, best: dict[str, str]) -> bool:
    """Return whether a row has the best number of a column, by `ResultTable.best`."""
    shown = row.digits[column]
    return shown is not None and column in best and float(shown) == float(best[column])


def result_notes(table: ResultTable) -> list[str]:
    """Return what a reader of the numbers needs to know."""
    notes = []
    if any(shown is None for row in table.rows for shown in row.digits.values()):
        notes.append(f"{DASH} no such question, or it is unknown which questions belong to the class")
    looked_up = ", ".join(row.name for row in table.baselines[1:])
    notes.append(
        "chance: uniform choice among the offered options"
        + (f"; looked up in the training split: {looked_up}" if looked_up else "")
    )
    if table.unit == "wording":
        notes.append(
            "intervals: 95 % over wordings alone, one seed; questions that share a wording are not independent"
        )
    if table.unit == "question":
        notes.append("intervals: 95 % over questions as if they were independent, one seed")
    if any(row.unparsed is not None for row in table.rows):
        notes.append("random credit: points that a random option for each unparsed answer would be worth")
    if any(row.rule == AS_FILED for row in table.rows):
        notes.append(f"{AS_FILED}: the file's own indices, including any guesses by its producer")
    notes += dict.fromkeys(note for row in table.rows for note in row.notes)
    if table.published and table.n_questions() != TEST_QUESTIONS:
        notes.append(f"published rows are over the {TEST_QUESTIONS:,} test questions of ScienceQA, not over these")
    return notes


def comparison_grids(table: ResultTable) -> list[Grid]:
    """Return a table for each pair of systems, if intervals were requested."""
    return [
        comparison_grid(compared, a, b, title=f"{a} minus {b}, question by question", margin=table.margin)
        for (a, b), compared in table.comparisons.items()
    ]


def gain_grids(table: ResultTable) -> list[Grid]:
    """Return a table for each system's gain over the best baseline of each column, if requested."""
    return [
        Grid(
            title=f"{name} minus the best baseline of each column",
            headers=("", "n", "baseline", "its accuracy", *COMPARED[:4]),
            rows=tuple(
                (
                    str(column),
                    str(row["n"]),
                    row["baseline"],
                    f"{row['accuracy']:.2f}",
                    *(f"{x:+.2f}" for x in row[["difference", "low", "high"]]),
                    p_digits(row["p"]),
                )
                for column, row in gains.astype(object).iterrows()
            ),
            words=frozenset({"", "baseline"}),
            notes=("the best baseline is picked on the same questions, which is a little hard on the system",),
        )
        for name, gains in table.gains.items()
    ]


def comparison_grid(compared: pd.DataFrame, a: str, b: str, *, title: str, margin: float | None = None) -> Grid:
    """Return the result of `statistics.compare` or `verdicts.compare_by_class` as a table, one row for each class."""
    judged = "verdict" in compared
    notes = ["p: McNemar's exact test; p Holm: corrected for all rows but Avg; interval: paired bootstrap"]
    if judged:
        within = f", equivalent: TOST within {margin:g} points" if margin else "; inconclusive is not equally good"
        notes = [
            "p: t test over wordings; p Holm: corrected for all rows but Avg; interval: over wordings, not corrected",
            f"verdict: by p Holm at 0.05{within}; over questions alone, one seed",
        ]
    return Grid(
        title=title,
        headers=("", "n", "both right", f"only {a}", f"only {b}", "both wrong", *COMPARED, *["verdict"] * judged),
        rows=tuple(
            (
                str(name),
                *map(str, row[["n", *OUTCOMES]]),
                *(f"{x:+.2f}" for x in row[["difference", "low", "high"]]),
                *map(p_digits, row[["p", "p_holm"]]),
                *([row["verdict"]] if judged else []),
            )
            for name, row in compared.astype(object).iterrows()
        ),
        words=frozenset({"", "verdict"}),
        notes=tuple(notes),
    )


def _csv(table: ResultTable) -> str:
    bounds = ("low", "high") if table.rows[0].intervals is not None else ()
    limits = [f"{column} {bound}" for column in TABLE_COLUMNS for bound in bounds]
    fields = ["system", *TABLE_COLUMNS, *limits, "n", "unparsed", "random_credit", "rule", "source"]
    out = io.StringIO()
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    for row in (*table.baselines, *table.rows, *table.published):
        record: dict[str, object] = {"system": printable(row.name), **row.digits}
        record |= {"rule": row.rule, "source": printable(row.source)}
        if isinstance(row, BaselineRow):
            record |= {"n": len(row.credit)}
        if isinstance(row, ScoredRow):
            record |= {"n": len(row.frame), "unparsed": row.unparsed, "random_credit": digits(row.random_credit)}
            cells = {} if row.intervals is None else row.intervals.to_dict(orient="index")
            record |= {f"{name} {bound}": digits(x) for name, cell in cells.items() for bound, x in cell.items()}
        writer.writerow(record)
    return out.getvalue()


def _json(table: ResultTable) -> str:
    content = {
        "title": table.title,
        "n": table.n_questions(),
        "baselines": [{"name": row.name, "digits": row.digits} for row in table.baselines],
        "systems": [_system_record(row) for row in table.rows],
        "published": [{"name": row.name, "digits": row.digits, "source": row.source} for row in table.published],
        "best": table.best(),
        "comparisons": [
            {"a": a, "b": b, "columns": compared.astype(object).where(compared.notna(), None).to_dict(orient="index")}
            for (a, b), compared in table.comparisons.items()
        ],
        "classes": {
            kind: {
                name: scores.astype(object).where(scores.notna(), None).to_dict(orient="index")
                for name, scores in systems.items()
            }
            for kind, systems in table.classes.items()
        },
        "gains": {name: gains.to_dict(orient="index") for name, gains in table.gains.items()},
        "controls": [controls_record(controls) for controls in table.controls],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _system_record(row: ScoredRow) -> dict[str, object]:
    """Return a scored row for JSON; where the table has a dash, null beside the known part with its n."""
    columns = {}
    for name, score in row.scores.astype(object).iterrows():
        cell = {"accuracy": _number(score["known_accuracy"]), "n": score["n"], "correct": score["correct"]}
        if score["unknown"]:
            cell = {"accuracy": None, "unknown": score["unknown"], "known": cell}
        elif row.intervals is not None:
            cell["interval"] = [_number(x) for x in row.intervals.loc[name]]
        columns[name] = cell
    return {
        "name": row.name,
        "rule": row.rule,
        "source": row.source,
        "unparsed": row.unparsed,
        "random_credit": _number(row.random_credit),
        "calibration_error": None if pd.isna(error := row.calibration_error) else round(error, 4),
        "columns": columns,
    }


def _number(value: float | None) -> float | None:
    """Return two decimals, as the tables have; null if there is no number."""
    return None if value is None or pd.isna(value) else two_decimals(value)
