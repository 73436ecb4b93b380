"""The report: one HTML file that needs no network.

Its content is untrusted. The template escapes every value, the questions are in a data block that cannot end early,
the script creates text nodes only, and a content security policy allows nothing but this style sheet and this script
(by their hashes) and embedded pictures.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, value_classes
from mmadapter.evaluation.calibration import expected_calibration_error
from mmadapter.evaluation.grid import Grid
from mmadapter.evaluation.reliance import CONDITIONS, Controls, controls_grids
from mmadapter.evaluation.render import (
    TEST_QUESTIONS,
    class_grids,
    comparison_grid,
    comparison_grids,
    gain_grids,
    is_best,
    result_notes,
)
from mmadapter.evaluation.table import ResultTable, result_table
from mmadapter.evaluation.verdicts import compare_frames
from mmadapter.evaluation.wordings import KINDS, cluster_ids
from mmadapter.experiment.lookups import Lookups
from mmadapter.report import figures
from mmadapter.report.questions import questions_json
from mmadapter.report.svg import STYLE, colour, element, marker
from mmadapter.report.thumbnails import thumbnails
from mmadapter.runs.collect import Scored
from mmadapter.runs.records import HeadRecord, RunRecord, run_record
from mmadapter.storage.files import write_text

TOPIC_QUESTIONS = 10
"""Minimum for a topic to be drawn: with fewer, the interval hides any difference. The table has all topics."""


def write_report(scored: Scored, file: Path, *, controls: Sequence[Controls] = (), seen: Lookups | None = None) -> None:
    """Write `report_html` to a file; a UserError if that fails."""
    if file.is_dir():
        raise UserError(f"--report {file}: is a folder: name a file, such as report.html")
    text = report_html(scored, controls=controls, seen=seen)
    try:
        write_text(file, text)
    except OSError as error:
        raise UserError(f"--report {file}: cannot be written: {error.strerror or error}") from error


def report_html(scored: Scored, *, controls: Sequence[Controls] = (), seen: Lookups | None = None) -> str:
    """Return the report as text.

    Args:
        scored: the result of `runs.collect.collect`; the first system is compared with each other one.
        controls: of the systems whose models were asked under other conditions.
        seen: what the training split says of the questions.

    Raises:
        UserError: a damaged file in a run's folder.
    """
    classes = {kind.replace("-", " "): masks(scored.questions) for kind, masks in KINDS.items()}
    table = result_table(
        scored.systems,
        scored.questions,
        title=scored.title,
        intervals="wording",
        published=True,
        baselines=seen.baselines if seen else None,
        classes=(seen.classes if seen else {}) | {kind: masks for kind, masks in classes.items() if masks},
    )
    frames = {row.name: row.frame for row in table.rows}
    colours = {name: index for index, name in enumerate(frames)}
    records = {name: run_record(stored.variant) for name, stored in scored.stored.items()}
    pictures = thumbnails({p.pid: p.image for p in scored.data if p.image is not None})
    outputs = {s.name: s.frame.set_index("pid")["output"].loc[scored.questions.index] for s in scored.systems}
    folder = Path(__file__).parent
    template, sheet, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("template.html", "style.css", "script.js")
    )
    style = STYLE + sheet
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template).render(
        title=scored.title,
        version=version("mmadapter"),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        table=table,
        columns=TABLE_COLUMNS,
        best=_best(table),
        is_best=is_best,
        notes=result_notes(table),
        systems=[System(name, colours[name]) for name in frames],
        settings={name: record.settings for name, record in records.items() if record.settings is not None},
        bars=_class_bars(table, colours),
        comparisons=_comparisons(table),
        topics=_topics(frames, scored.questions),
        classes=class_grids(table),
        gains=gain_grids(table),
        topic_questions=TOPIC_QUESTIONS,
        curves=_curves(records, colours),
        heads=_heads(records, colours),
        calibration=_calibration(frames, colours),
        controls=_controls(controls, colours),
        n_pictures=len(pictures.index),
        broken=len(pictures.broken),
        questions=Markup(questions_json(scored.data, frames, outputs, pictures)),
        pictures=Markup("\n".join(pictures.files)),
    )  # fmt: skip
    return text.encode("utf-8", "replace").decode("utf-8")  # no file can hold half a surrogate pair, as JSON can


@dataclass(frozen=True)
class System:
    """A system's name and its place, which sets its mark and colour."""

    name: str
    index: int

    @property
    def key(self) -> Markup:
        """The mark, for legends; hidden from screen readers, which read the name beside it."""
        mark = marker(self.index, 7, 7, 5, colour(self.index))
        return element("svg", mark, viewBox="0 0 14 14", class_="key", aria_hidden="true")


@dataclass(frozen=True)
class Part:
    """Drawings, and the tables they are drawn from."""

    drawings: tuple[Markup, ...]
    grids: tuple[Grid, ...] = ()
    name: str = ""
    systems: Container[str] = ()
    """Names of the systems in the drawings."""


def _best(table: ResultTable) -> dict[str, dict[str, str]]:
    """Return the best number of each column: over all rows if they share their questions, else in each block."""
    if table.n_questions() == TEST_QUESTIONS:
        return {"rows": table.best(), "published": table.best()}
    return {"rows": replace(table, published=()).best(), "published": replace(table, rows=()).best()}


def _class_bars(table: ResultTable, colours: Mapping[str, int]) -> Markup:
    series = {
        row.name: row.intervals.assign(accuracy=row.scores["accuracy"])
        for row in table.rows
        if row.intervals is not None
    }
    label = f"Bar chart of the accuracy of {', '.join(series)} by question class; the numbers are in Table 1."
    return figures.bars(series, colours, TABLE_COLUMNS, label=label)


def _comparisons(table: ResultTable) -> list[Part]:
    group = figures.row_height(len(table.rows))
    return [
        Part((figures.differences(compared, TABLE_COLUMNS, a, b, group=group, left=46),), (grid,), f"{a} and {b}")
        for ((a, b), compared), grid in zip(table.comparisons.items(), comparison_grids(table), strict=True)
        if len(compared)
    ]


def _topics(frames: Mapping[str, pd.DataFrame], questions: pd.DataFrame) -> list[Part]:
    """Compare the first system with each other one by topic, if the questions have topics."""
    first, *others = frames
    topic = questions["topic"]
    clusters, classes = cluster_ids(questions), value_classes(topic) if topic.notna().any() else {}
    parts = []
    for other in others:
        compared = compare_frames(frames[first], frames[other], clusters, classes)
        drawn = compared[compared["n"] >= TOPIC_QUESTIONS].sort_values("difference", ascending=False)
        if len(drawn) < 2:
            continue
        topics = list(drawn.index)
        figure = figures.differences(drawn, topics, first, other, group=18, left=162, counted=True)
        grid = comparison_grid(compared, first, other, title=f"{first} minus {other}, by topic")
        parts.append(Part((figure,), (grid,), f"{first} and {other}"))
    return parts


def _curves(records: Mapping[str, RunRecord], colours: Mapping[str, int]) -> Part | None:
    curves = {name: record.curve for name, record in records.items() if record.curve is not None}
    if not curves:
        return None
    losses = figures.loss_curves(curves, colours, {name: records[name].choice_loss for name in curves})
    return Part((*losses, figures.accuracy_curves(curves, colours)), systems=curves)


def _heads(records: Mapping[str, RunRecord], colours: Mapping[str, int]) -> list[tuple[str, int, HeadRecord, Part]]:
    known = {name: record.heads for name, record in records.items() if record.heads is not None}
    parts = []
    for name, record in known.items():
        measures = [measure for measure in figures.HEAT if record.heads[measure].notna().all()]
        largest = {m: max(float(each.heads[m].abs().max()) for each in known.values()) for m in measures}
        largest["effective"] = record.adapter_len
        maps = tuple(figures.heat_map(record, m, colours[name], largest[m]) for m in measures)
        parts.append((name, colours[name], record, Part(maps, (_layers_grid(name, record.heads),))))
    return parts


def _layers_grid(name: str, heads: pd.DataFrame) -> Grid:
    """Return the means of the maps over each layer's heads."""
    means = heads.assign(gate=heads["gate"].abs()).drop(columns="head").groupby("layer").mean()
    shown = means.dropna(axis="columns")
    headers = {"gate": "size of gate", "prompts": "prompts' share", "image": "image's share", "effective": "prompts"}
    return Grid(
        title=f"{name}: means over the heads of a layer",
        headers=("layer", *(headers[column] for column in shown)),
        rows=tuple((str(layer), *(f"{value:.4f}" for value in row)) for layer, row in shown.iterrows()),
    )


def _calibration(frames: Mapping[str, pd.DataFrame], colours: Mapping[str, int]) -> Part | None:
    frames = {name: frame for name, frame in frames.items() if frame["confidence"].notna().any()}
    if not frames:
        return None
    rows = []
    for name, frame in frames.items():
        known = frame[frame["confidence"].notna()]
        numbers = (expected_calibration_error(frame), known["confidence"].mean(), known["correct"].mean())
        rows.append((name, *(f"{number:.4f}" for number in numbers), str(len(known))))
    headers = ("", "calibration error", "mean confidence", "accuracy", "questions")
    grid = Grid(title="Expected calibration error, ten bins of equal width", headers=headers, rows=tuple(rows))
    drawings = (figures.reliability_diagram(frames, colours), figures.risk_coverage_curves(frames, colours))
    return Part(drawings, (grid,), systems=frames)


def _controls(controls: Sequence[Controls], colours: Mapping[str, int]) -> Part | None:
    if not controls:
        return None
    series = {
        system.name: system.images[system.images["question_class"] == "IMG"].set_index("condition").reindex(CONDITIONS)
        for system in controls
        if len(system.images)
    }
    label = f"Accuracy of {', '.join(series)} under each condition of the image."
    drawings = (figures.bars(series, colours, CONDITIONS, label=label, left=62),) if series else ()
    return Part(drawings, tuple(grid for system in controls for grid in controls_grids(system)), systems=series)


def _policy(style: str, script: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script))
    return (
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; "
        "base-uri 'none'; form-action 'none'"
    ).format(*hashes)
