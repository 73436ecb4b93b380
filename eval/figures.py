"""Figures, as SVG and PNG, from what a study found."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from eval.results import Estimate, Results, Run
from eval.study import Arm, Exhibit, Study
from eval.tables import accuracy_of, compared, difference_of, keys_of
from mmadapter.evaluation.accuracy import TABLE_COLUMNS

FOLDER = Path(__file__).parent / "figures"
COLOURS = ("#0b6e99", "#d1603d", "#3f8f4f", "#7d5ba6", "#8a6d3b")
GREY = "#6b7280"
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "mmadapter",  # the same picture is the same file
}


def draw(recipe: Exhibit, study: Study, results: Results, folder: Path) -> list[Path]:
    """NAME.svg and NAME.png; none where too few runs are there to compare."""
    arms = compared(recipe, study, results)
    if not arms:
        return []
    with mpl.rc_context(STYLE):
        figure = DRAWINGS[recipe.figure](arms, study, results)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{recipe.name}.{kind}" for kind in ("svg", "png")]
        for path in paths:
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _accuracy(axes: Axes, arms: list[Arm], study: Study, results: Results, column: str, colour: str) -> None:
    """Of each arm the mean with its interval, and beside it a small mark for every seed of several."""
    found = [accuracy_of(arm, study, results, "test", column) for arm in arms]
    _points(axes, range(len(arms)), found, colour, f"test {column}")
    for place, arm in enumerate(arms):
        seeds = 100 * results.right(keys_of(arm, study, results), "test", column).mean(axis=1)
        if len(seeds) > 1:
            axes.plot([place + 0.12] * len(seeds), seeds, ".", color=colour, alpha=0.45, markersize=5)


def _points(axes: Axes, places, found: list[Estimate], colour: str, label: str) -> None:
    means = [value.mean for value in found]
    ends = [[v.mean - v.low for v in found], [v.high - v.mean for v in found]]
    axes.errorbar(places, means, yerr=ends, fmt="o", color=colour, capsize=3, markersize=6, linewidth=1.4, label=label)


def by_arm(arms: list[Arm], study: Study, results: Results) -> Figure:
    """Test accuracy by arm: of all questions and of those with an image."""
    figure = Figure(figsize=(5.2, 3.4))
    axes = figure.subplots()
    for column, colour in zip(dict.fromkeys([study.column, "IMG"]), COLOURS, strict=False):
        _accuracy(axes, arms, study, results, column, colour)
    axes.set_xticks(range(len(arms)), [arm.label for arm in arms])
    axes.set_xlim(-0.4, len(arms) - 0.6)
    axes.set_ylabel("test accuracy, %")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)  # beside the data, never on them
    return figure


def by_epoch(arms: list[Arm], study: Study, results: Results) -> Figure:
    """Loss and val accuracy by epoch, a thin line a seed and a thick one for their mean; right, the test accuracy."""
    figure = Figure(figsize=(11, 3.4))
    loss, accuracy, final = figure.subplots(1, 3, width_ratios=[1.25, 1.25, 0.9])
    for arm, colour in zip(arms, COLOURS, strict=False):
        runs = [results.runs[key] for key in keys_of(arm, study, results)]
        choice = " + choice" if arm.config(study, 0).choice_loss else ""
        _curve(loss, runs, "train_loss", colour, "-", f"{arm.label}, training{choice}")
        _curve(loss, runs, "val_loss", colour, "--", f"{arm.label}, val")
        _curve(accuracy, runs, "val_accuracy", colour, "-", arm.label)
    loss.set(xlabel="epoch", ylabel="loss, nats a token", yscale="log", title="Loss")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    loss.yaxis.set_minor_formatter(NullFormatter())
    for axes in (loss, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy.set(xlabel="epoch", ylabel="val accuracy, %", title="Val accuracy")
    loss.legend(fontsize=8)
    accuracy.legend(fontsize=8)
    for column, colour in zip(dict.fromkeys([study.column, "IMG"]), (GREY, "#111827"), strict=False):
        found = [accuracy_of(arm, study, results, "test", column) for arm in arms]
        _points(final, range(len(arms)), found, colour, f"test {column}")
    final.set_xticks(range(len(arms)), [arm.label for arm in arms], fontsize=8)
    final.set_xlim(-0.5, len(arms) - 0.5)
    final.set(ylabel="test accuracy, %", title="Test accuracy of the best epoch")
    final.legend(fontsize=8)
    figure.tight_layout()
    return figure


def _curve(axes: Axes, runs: list[Run], name: str, colour: str, style: str, label: str) -> None:
    curves = [[epoch[name] for epoch in run.epochs] for run in runs]
    if any(value is None for curve in curves for value in curve):
        return
    epochs = range(1, len(curves[0]) + 1)
    for curve in curves:
        axes.plot(epochs, curve, style, color=colour, alpha=0.3, linewidth=0.8)
    mean = [sum(values) / len(values) for values in zip(*curves, strict=True)]
    axes.plot(epochs, mean, style, color=colour, linewidth=2, label=label)


def by_column(arms: list[Arm], study: Study, results: Results) -> Figure:
    """Test accuracy of each arm in the columns of Table 2."""
    figure = Figure(figsize=(8, 3.4))
    axes = figure.subplots()
    columns = [column for column in TABLE_COLUMNS if results.questions["test"].member(column).any()]
    for index, (arm, colour) in enumerate(zip(arms, COLOURS, strict=False)):
        found = [accuracy_of(arm, study, results, "test", column) for column in columns]
        places = [place + 0.16 * (index - (len(arms) - 1) / 2) for place in range(len(columns))]
        _points(axes, places, found, colour, arm.label)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_ylabel("test accuracy, %")
    axes.legend(loc="lower right")
    return figure


def by_class(arms: list[Arm], study: Study, results: Results) -> Figure:
    """The difference of two arms by class of questions: the paper's columns, then topics."""
    first, second = arms
    classes = [*TABLE_COLUMNS, *(name for name in results.questions["test"].classes if name not in TABLE_COLUMNS)]
    gains = {name: difference_of(first, second, study, results, "test", name) for name in classes}
    gains = {name: gain for name, gain in gains.items() if not math.isnan(gain.mean)}
    figure = Figure(figsize=(6.4, 0.8 + 0.26 * len(gains)))
    axes = figure.subplots()
    for place, (name, gain) in enumerate(gains.items()):
        colour = COLOURS[0] if name in TABLE_COLUMNS else GREY
        ends = [[gain.mean - gain.low], [gain.high - gain.mean]]
        axes.errorbar(gain.mean, place, xerr=ends, fmt="o", color=colour, capsize=2.5, markersize=5, linewidth=1.3)
    axes.axvline(0, color=GREY, linewidth=1)
    names = [f"{name.removeprefix('topic: ')} ({gain.questions:,})" for name, gain in gains.items()]
    axes.set_yticks(range(len(gains)), names)
    axes.invert_yaxis()
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"{first.label} minus {second.label}, points of test accuracy")
    return figure


DRAWINGS: dict[str, Callable[[list[Arm], Study, Results], Figure]] = {
    "arms": by_arm,
    "curves": by_epoch,
    "columns": by_column,
    "classes": by_class,
}
"""By a recipe's kind of figure."""
