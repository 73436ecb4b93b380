"""The page's figures as SVG files, drawn from a study's results by the report's own charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from markupsafe import Markup

from eval.results import Estimate, Results
from eval.study import Arm, Exhibit, Study
from eval.tables import accuracy_of, compared, difference_of, keys_of
from mmadapter.evaluation.accuracy import TABLE_COLUMNS
from mmadapter.report.figures import bars, differences, row_height
from mmadapter.report.svg import LETTER, Plot, colour, line, marker, moved, nice_ticks, polyline, standalone, text
from mmadapter.storage.files import write_text

FOLDER = Path(__file__).parent / "figures"
WIDTH, PANEL, SHOWN = 560, 268, 880
"""Width of a figure, of one of three panels side by side, and at most of a figure on the page."""
TOP, MARGIN, CURVES = 26, 14, 240
"""Height of the legend, the margin around a figure, and the height of curves."""

Drawing = tuple[float, float, list[Markup]]
"""Width, height and content."""


def draw(exhibit: Exhibit, study: Study, results: Results, folder: Path) -> Path | None:
    """Write NAME.svg; None where too few runs exist to compare."""
    arms = compared(exhibit, study, results)
    if not arms:
        return None
    width, height, parts = DRAWINGS[exhibit.figure](arms, study, results)
    width, height = width + 2 * MARGIN, height + 2 * MARGIN
    scale = min(1.25, SHOWN / width)
    path = folder / f"{exhibit.name}.svg"
    write_text(path, standalone(width, height, exhibit.title, moved(MARGIN, MARGIN, *parts), scale=scale))
    return path


def by_arm(arms: list[Arm], study: Study, results: Results) -> Drawing:
    """Test accuracy of each arm, over all questions and over those with an image."""
    series = {}
    for column in dict.fromkeys([study.column, "IMG"]):
        series[f"test {column}"] = [_accuracy(arm, study, results, column) for arm in arms]
    left = 16 + LETTER * max(len(arm.label) for arm in arms)
    height, parts = _intervals(series, [arm.label for arm in arms], width=WIDTH, left=left)
    if len(series) == 1:  # the axis names it
        return WIDTH, height, parts
    return WIDTH, TOP + height, [_legend(series, left), moved(0, TOP, *parts)]


def by_epoch(arms: list[Arm], study: Study, results: Results) -> Drawing:
    """Loss and val accuracy by epoch (one thin line a seed, their mean thick), and test accuracy of the best epoch."""
    columns = list(dict.fromkeys([study.column, "IMG"]))
    series = {arm.label: [_accuracy(arm, study, results, column) for column in columns] for arm in arms}
    height, final = _intervals(series, [f"test {column}" for column in columns], width=PANEL, left=60)
    panels = {
        "Loss": _curves(arms, study, results, "train_loss", "val_loss"),
        "Val accuracy": _curves(arms, study, results, "val_accuracy"),
        "Test accuracy of the best epoch": final,
    }
    width = 3 * PANEL + 40
    training = "training loss with the choice loss" if arms[0].config(study, 0).choice_loss else "training loss"
    key = text(width, 10, f"solid: {training}; dashed: val loss; thin: single seeds", anchor="end", class_="title")
    parts = [_legend(series, 48), key]
    for place, (title, panel) in enumerate(panels.items()):
        parts.append(moved(place * (PANEL + 20), TOP, text(48, 16, title, class_="heading"), moved(0, 20, *panel)))
    return width, TOP + 20 + max(CURVES, height), parts


def _curves(arms: list[Arm], study: Study, results: Results, *names: str) -> list[Markup]:
    """Curves of each arm; losses have a logarithmic axis."""
    curves = {}
    for index, arm in enumerate(arms):
        runs = [results.runs[key] for key in keys_of(arm, study, results)]
        for name in names:
            found = [[epoch[name] for epoch in run.epochs] for run in runs]
            if all(None not in curve for curve in found):
                curves[index, name] = found
    loss = "train_loss" in names
    values = [value for found in curves.values() for curve in found for value in curve] or [1.0]
    epochs = max((len(curve) for found in curves.values() for curve in found), default=1)
    ticks = _log_ticks(min(values), max(values)) if loss else nice_ticks(min(values), min(100, max(values)))

    def scaled(value: float) -> float:
        return math.log10(value) if loss else value

    step = math.ceil(epochs / 6)
    plot = Plot(range(0, epochs + step, step), [scaled(t) for t in ticks], width=PANEL, height=CURVES)
    title = "loss, nats a token" if loss else "val accuracy, %"
    parts = [plot.axes("epoch", title, y_labels=[f"{t:g}" for t in ticks])]
    for (index, name), found in curves.items():
        dashes = " dashed" if name == "val_loss" else ""
        mean = [sum(at) / len(at) for at in zip(*found, strict=True)]
        for curve, kind in [*((curve, "faint") for curve in found), (mean, "curve")]:
            points = [(plot.x(epoch), plot.y(scaled(value))) for epoch, value in enumerate(curve, start=1)]
            parts.append(polyline(points, f"{colour(index)} {kind}{dashes}"))
        parts.append(marker(index, *points[-1], 3.4, colour(index)))
    return parts


def by_column(arms: list[Arm], study: Study, results: Results) -> Drawing:
    """Test accuracy of each arm in the columns of Table 2."""
    columns = [column for column in TABLE_COLUMNS if results.questions["test"].member(column).any()]
    series = {}
    for arm in arms:
        found = {column: accuracy_of(arm, study, results, "test", column) for column in columns}
        series[arm.label] = _frame(found).rename(columns={"mean": "accuracy"})
    colours = {label: index for index, label in enumerate(series)}
    chart = bars(series, colours, columns, label="Test accuracy by column.", width=WIDTH)
    return WIDTH, TOP + row_height(len(arms)) * len(columns) + 38, [_legend(series, 46), moved(0, TOP, chart)]


def by_class(arms: list[Arm], study: Study, results: Results) -> Drawing:
    """Difference of two arms by class of questions: the paper's columns, then the other classes."""
    first, second = arms
    gains = {}
    for name in dict.fromkeys([*TABLE_COLUMNS, *results.questions["test"].classes]):
        gain = difference_of(first, second, study, results, "test", name)
        if not math.isnan(gain.low):  # a single wording says nothing of others
            gains[name.removeprefix("topic: ")] = gain
    frame = _frame(gains).rename(columns={"mean": "difference", "questions": "n"})
    left = 16 + LETTER * max(len(f"{name} ({gain.questions:,})") for name, gain in gains.items())
    group, width = 19, WIDTH + 120
    sizes = {"group": group, "left": left, "width": width}
    chart = differences(frame, list(gains), first.label, second.label, **sizes, counted=True)
    return width, group * len(gains) + 38, [chart]


def _accuracy(arm: Arm, study: Study, results: Results, column: str) -> tuple[Estimate, list[float]]:
    """Test accuracy, and that of each seed; none where there is one."""
    right = results.right(keys_of(arm, study, results), "test", column)
    seeds = list(100 * right.mean(axis=1)) if len(right) > 1 else []
    return accuracy_of(arm, study, results, "test", column), seeds


def _frame(found: Mapping[str, Estimate]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(found, orient="index", columns=list(Estimate._fields))


def _legend(names: Mapping[str, object], left: float) -> Markup:
    parts, x = [], left
    for index, name in enumerate(names):
        parts += [marker(index, x + 5, 6, 4.2, colour(index)), text(x + 14, 10, name, class_="label")]
        x += 32 + LETTER * len(name)
    return Markup().join(parts)


def _intervals(
    series: Mapping[str, Sequence[tuple[Estimate, list[float]]]], rows: Sequence[str], *, width: float, left: float
) -> tuple[float, list[Markup]]:
    """Means with intervals and a faint dot for every seed, each row a group of all series.

    Returns:
        The height and the content.
    """
    step, right = 19, 46
    group = step * len(series) + 8
    height = group * len(rows) + 42
    base = height - 38
    ends = [end for found in series.values() for value, _ in found for end in (value.low, value.high)]
    ticks = nice_ticks(max(0, min(ends)), min(100, max(ends)), about=3 if width < WIDTH else 6)
    plot = Plot(ticks, [0, 1], width=width, height=height, left=left, right=right)
    parts = [line(plot.x(t), 2, plot.x(t), base, "grid") for t in ticks]
    parts += [text(plot.x(t), base + 14, f"{t:g}", anchor="middle") for t in ticks]
    for place, row in enumerate(rows):
        top = 2 + place * group
        parts.append(text(left - 7, top + group / 2 + 2, row, anchor="end", class_="label"))
        for index, (name, found) in enumerate(series.items()):
            (value, seeds), y, kind = found[place], top + 12 + step * index, colour(index)
            low, high = plot.x(max(0, value.low)), plot.x(min(100, value.high))
            parts.append(line(low, y, high, y, f"whisker {kind}"))
            parts += [marker(0, plot.x(seed), y + 8, 2, f"{kind} seed") for seed in seeds]
            tooltip = f"{row}, {name}: {value.mean:.2f} ({value.low:.2f} to {value.high:.2f})"
            parts.append(marker(index, plot.x(value.mean), y, 4, kind, tooltip))
            parts.append(text(width, y + 3.5, f"{value.mean:.2f}", anchor="end", class_="value"))
    title = f"{next(iter(series))} accuracy, %" if len(series) == 1 else "test accuracy, %"
    parts.append(text((left + width - right) / 2, height - 5, title, anchor="middle", class_="title"))
    return height, [*parts, line(left, base, width - right, base, "axis")]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from at most `low` to at least `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [t for t in ticks if max(u for u in ticks if u <= low) <= t <= min(u for u in ticks if u >= high)]


DRAWINGS = {"arms": by_arm, "curves": by_epoch, "columns": by_column, "classes": by_class}
"""By the kind of an exhibit's figure."""
