"""The report's figures, drawn from the frames of `evaluation` and the records of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from mmadapter.evaluation.calibration import reliability, risk_coverage
from mmadapter.evaluation.grid import p_digits
from mmadapter.report.svg import (
    LETTER,
    WIDTH,
    Number,
    Plot,
    colour,
    drawing,
    element,
    line,
    marker,
    nice_ticks,
    polyline,
    side_title,
    text,
)
from mmadapter.runs.records import Curve, HeadRecord

SIGNIFICANT = 0.05


def bars(
    series: Mapping[str, pd.DataFrame],
    colours: Mapping[str, int],
    groups: Sequence[str],
    *,
    label: str,
    left: Number = 46,
    width: Number = WIDTH,
) -> Markup:
    """Draw accuracy in percent by group, with one bar and interval a system.

    Args:
        series: for each system a frame `accuracy`, `low`, `high` by group; NaN is drawn as a dash.
        colours: index of each system's colour.
        groups: from top to bottom.
        label: description for a reader who cannot see the drawing.
        left: width left for the names of the groups.
    """
    bar, group = 9, row_height(len(series))
    right, top = 44, 4
    height = top + group * len(groups) + 34
    plot = Plot([0, 25, 50, 75, 100], [0, 1], width=width, height=height, left=left, right=right)
    base = height - 34
    parts = [line(plot.x(t), top, plot.x(t), base, "grid") for t in plot.x_ticks]
    parts += [text(plot.x(t), base + 14, t, anchor="middle") for t in plot.x_ticks]
    for at, name in enumerate(groups):
        start = top + at * group + 4.5
        parts.append(text(left - 7, start + (group - 9) / 2 + 2.5, name, anchor="end", class_="label"))
        for row, (system, cells) in enumerate(series.items()):
            y = start + row * 11
            value, low, high = cells.loc[name, ["accuracy", "low", "high"]]
            if pd.isna(value):
                parts.append(text(left + 3, y + 8, "\N{EN DASH}"))
                continue
            tooltip = f"{system}, {name}: {value:.2f} % (95 % interval {low:.2f} to {high:.2f})"
            kind = f"{colour(colours[system])} bar"
            length = plot.x(value) - left
            parts.append(element("rect", element("title", tooltip), x=left, y=y, width=length, height=bar, class_=kind))
            parts.append(line(plot.x(low), y + bar / 2, plot.x(high), y + bar / 2, "whisker"))
            parts.append(text(width, y + 8, f"{value:.2f}", anchor="end", class_="value"))
    parts.append(line(left, top, left, base, "axis"))
    parts.append(text((left + width - right) / 2, height - 3, "accuracy, %", anchor="middle", class_="title"))
    return drawing(width, height, label, *parts)


def row_height(n_systems: int) -> int:
    """Return the height of a group of bars, and of a row beside it."""
    return 11 * max(n_systems, 1) + 9


def differences(
    compared: pd.DataFrame,
    classes: Sequence[str],
    a: str,
    b: str,
    *,
    group: Number,
    left: Number,
    width: Number = WIDTH,
    counted: bool = False,
) -> Markup:
    """Draw the paired differences a minus b with their intervals.

    A filled mark is significant after Holm's correction; without p values, its interval excludes zero.

    Args:
        compared: from `evaluation.statistics.compare`; the columns `p` and `p_holm` may be missing.
        group: height of a row.
        left: width left for the names of the classes.
        counted: write the number of questions after each name.
    """
    right, top = 48, 4
    height = top + group * len(classes) + 34
    base = height - 34
    known = compared.loc[[name for name in classes if name in compared.index]]
    ticks = nice_ticks(min(0, known["low"].min()), max(0, known["high"].max()), about=4)
    plot = Plot(ticks, [0, 1], width=width, height=height, left=left, right=right)
    parts = [line(plot.x(t), top, plot.x(t), base, "axis" if t == 0 else "grid") for t in ticks]
    parts += [text(plot.x(t), base + 14, signed(t, "g") if t else "0", anchor="middle") for t in ticks]
    for at, name in enumerate(classes):
        y = top + (at + 0.5) * group
        count = f" ({known.loc[name, 'n']:,.0f})" if counted else ""
        parts.append(text(left - 7, y + 3.5, _fitting(name, count, left), anchor="end", class_="label"))
        if name not in known.index:
            parts.append(text(plot.x(0) + 4, y + 3.5, "\N{EN DASH}"))
            continue
        row = known.loc[name]
        interval = f"{signed(row['difference'])} points ({signed(row['low'])} to {signed(row['high'])})"
        if "p" in row:
            p = row["p"] if pd.isna(row["p_holm"]) else row["p_holm"]
            certain, interval = p < SIGNIFICANT, f"{interval}, p {p_digits(p)}"
        else:
            certain = row["low"] > 0 or row["high"] < 0
        tooltip = f"{name}: {interval}, {row['n']:.0f} questions"
        parts.append(line(plot.x(row["low"]), y, plot.x(row["high"]), y, "whisker"))
        parts.append(marker(0, plot.x(row["difference"]), y, 4, "solid" if certain else "hollow", tooltip))
        parts.append(text(width, y + 3.5, signed(row["difference"]), anchor="end", class_="value"))
    axis = text((left + width - right) / 2, height - 3, f"{a} minus {b}, points", anchor="middle", class_="title")
    label = f"Paired differences of {a} and {b}; the numbers are in the table of the pair."
    return drawing(width, height, label, *parts, axis)


def signed(number: Number, form: str = ".2f") -> str:
    """Format a number with its sign; the minus is as wide as the plus."""
    return format(number, f"+{form}").replace("-", "\N{MINUS SIGN}")


def _fitting(name: str, count: str, room: Number) -> str:
    """Shorten a name to the room before its count."""
    letters = int((room - 7) / LETTER) - len(count)
    return (name if len(name) <= letters else name[: letters - 1].rstrip("- ") + "\N{HORIZONTAL ELLIPSIS}") + count


def loss_curves(
    curves: Mapping[str, Curve], colours: Mapping[str, int], choice_loss: Mapping[str, Number]
) -> list[Markup]:
    """Draw loss by epoch: training solid, validation dashed, and a drawing for each thing that a loss may be.

    The first has the right answers' loss: in validation always, in training where nothing is added to it. Where the
    choice among the options is, training loss is another number, and stands in a drawing of its own for each weight.

    Args:
        choice_loss: weight of each system's choice loss.
    """
    parts = []
    for weight in sorted({0.0, *(choice_loss[name] for name in curves)}):
        trained = [name for name in curves if choice_loss[name] == weight]
        validated = [] if weight else list(curves)
        added = f" + {weight:g} \N{MULTIPLICATION SIGN} nats a choice" if weight else ""
        parts.append(_losses(curves, colours, trained, validated, f"loss, nats a token{added}"))
    return parts


def _losses(
    curves: Mapping[str, Curve],
    colours: Mapping[str, int],
    trained: Sequence[str],
    validated: Sequence[str],
    title: str,
) -> Markup:
    lines = [(name, "train_loss", "curve") for name in trained]
    lines += [(name, "val_loss", "curve dashed") for name in validated]
    shown = [curves[name].epochs[key].dropna() for name, key, _ in lines]
    high = max((values.max() for values in shown if len(values)), default=1.0)
    plot = Plot(_epoch_ticks(curves), nice_ticks(0, high))
    parts = [plot.axes("epoch", title)]
    for name in trained:
        steps = curves[name].steps
        steps = steps[steps["loss"] <= plot.y_ticks[-1]]
        parts.append(polyline(_mapped(plot, steps["epoch"], steps["loss"]), f"{colour(colours[name])} faint"))
    for name, key, style in lines:
        known = curves[name].epochs.dropna(subset=[key])
        kind, tooltip = colour(colours[name]), f"{name}, {_NAMES[key]}"
        parts += _curve(plot, known["epoch"], known[key], kind, style, colours[name], tooltip)
    return drawing(plot.width, plot.height, f"By epoch, a colour a system: {title}.", *parts)


_NAMES = {"train_loss": "training loss", "val_loss": "validation loss"}


def accuracy_curves(curves: Mapping[str, Curve], colours: Mapping[str, int]) -> Markup:
    """Draw validation accuracy by epoch."""
    known = {name: curve.epochs.dropna(subset=["val_accuracy"]) for name, curve in curves.items()}
    values = pd.concat([epochs["val_accuracy"] for epochs in known.values()])
    ticks = nice_ticks(values.min(), min(values.max(), 100)) if len(values) else [0, 100]
    plot = Plot(_epoch_ticks(curves), ticks)
    parts = [plot.axes("epoch", "validation accuracy, %")]
    for name, epochs in known.items():
        index = colours[name]
        parts += _curve(plot, epochs["epoch"], epochs["val_accuracy"], colour(index), "curve", index, name)
    return drawing(plot.width, plot.height, "Validation accuracy by epoch, a colour a system.", *parts)


def _epoch_ticks(curves: Mapping[str, Curve]) -> list[Number]:
    epochs = max(int(curve.epochs["epoch"].max()) for curve in curves.values())
    step = max(1, math.ceil(epochs / 8))
    return [float(t) for t in range(0, (epochs + step - 1) // step * step + 1, step)]


def _mapped(plot: Plot, x: pd.Series, y: pd.Series) -> list[tuple[Number, Number]]:
    return [(plot.x(a), plot.y(b)) for a, b in zip(x, y, strict=True)]


def _curve(plot: Plot, x: pd.Series, y: pd.Series, kind: str, style: str, index: int, name: str) -> list[Markup]:
    points = _mapped(plot, x, y)
    marks = [
        marker(index, *point, 2.6, kind, f"{name}, epoch {a:g}: {b:.3f}")
        for point, a, b in zip(points, x, y, strict=True)
    ]
    return [polyline(points, f"{kind} {style}"), *marks]


def reliability_diagram(frames: Mapping[str, pd.DataFrame], colours: Mapping[str, int]) -> Markup:
    """Draw accuracy against confidence in ten bins; a mark's area is its share of the questions."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    plot = Plot(ticks, ticks, height=300)
    parts = [plot.axes("confidence", "accuracy"), line(plot.x(0), plot.y(0), plot.x(1), plot.y(1), "diagonal")]
    for name, frame in frames.items():
        bins = reliability(frame)
        bins = bins[bins["n"] > 0]
        kind, total = colour(colours[name]), bins["n"].sum()
        parts.append(polyline(_mapped(plot, bins["confidence"], bins["accuracy"]), f"{kind} curve"))
        for row in bins.itertuples():
            tooltip = (
                f"{name}, confidence {row.low:.1f} to {row.high:.1f}: {row.n} questions, "
                f"mean confidence {row.confidence:.3f}, accuracy {row.accuracy:.3f}"
            )
            size = 2.5 + 9 * math.sqrt(row.n / total)
            parts.append(
                marker(colours[name], plot.x(row.confidence), plot.y(row.accuracy), size, f"{kind} mark", tooltip)
            )
    return drawing(plot.width, plot.height, "Reliability diagram: accuracy against confidence in ten bins.", *parts)


def risk_coverage_curves(frames: Mapping[str, pd.DataFrame], colours: Mapping[str, int], points: int = 150) -> Markup:
    """Draw the error rate if only the most confident questions were answered."""
    curves = {name: risk_coverage(frame) for name, frame in frames.items()}
    ticks = nice_ticks(0, max(curve["risk"][curve["coverage"] > 0.02].max() for curve in curves.values()))
    plot = Plot([0, 0.2, 0.4, 0.6, 0.8, 1], ticks, height=300)
    parts = [plot.axes("coverage: share answered", "risk: share of these wrong")]
    for name, curve in curves.items():
        thinned = curve.iloc[:: max(1, len(curve) // points)]
        if len(curve) and thinned.index[-1] != curve.index[-1]:
            thinned = pd.concat([thinned, curve.iloc[-1:]])
        thinned = thinned[thinned["risk"] <= ticks[-1]]
        mapped = _mapped(plot, thinned["coverage"], thinned["risk"])
        parts.append(polyline(mapped, f"{colour(colours[name])} curve"))
        if mapped:
            tooltip = f"{name}: risk {curve['risk'].iloc[-1]:.3f} where every question is answered"
            parts.append(marker(colours[name], *mapped[-1], 3.2, colour(colours[name]), tooltip))
    return drawing(plot.width, plot.height, "Risk-coverage curves, a colour a system.", *parts)


HEAT = {
    "gate": "gate, after its activation (grey: negative)",
    "prompts": "prompts\N{RIGHT SINGLE QUOTATION MARK} share of the output",
    "image": "image\N{RIGHT SINGLE QUOTATION MARK}s share of the output",
    "effective": "prompts attended to, of {k}",
}
"""Title of each map."""


def heat_map(record: HeadRecord, measure: str, index: int, largest: Number) -> Markup:
    """Draw one number a head: layers upwards from the lowest adapted one, heads from left to right.

    The strength of a cell is its number; a negative gate is grey.

    Args:
        index: the system's colour.
        largest: number of the strongest cell, the same in every system's map of this measure.
    """
    heads = record.heads
    values = heads[measure]
    layers, width = sorted(heads["layer"].unique(), reverse=True), int(heads["head"].max()) + 1
    low = 1.0 if measure == "effective" else 0.0
    left, top = 42, 22
    across = min(52.0, (WIDTH - left - 6) / width)
    down = max(7.0, min(20.0, 300 / len(layers)))
    title = HEAT[measure].format(k=record.adapter_len)
    parts = [text(left, 12, title, class_="label")]
    every = max(1, math.ceil(11 / down))
    for row, layer in enumerate(layers):
        if (len(layers) - 1 - row) % every == 0:
            parts.append(text(left - 5, top + (row + 0.5) * down + 3.5, int(layer), anchor="end"))
    place = {layer: row for row, layer in enumerate(layers)}
    for layer, head, value in zip(heads["layer"], heads["head"], values, strict=True):
        strength = (abs(value) - low) / (largest - low) if largest > low else 0.0
        tooltip = element("title", f"layer {layer}, head {head}: {value:.4g}")
        kind = colour(index) if value >= 0 else "negative"
        parts.append(
            element(
                "rect", tooltip, x=left + head * across, y=top + place[layer] * down, width=across - 0.8,
                height=down - 0.8, class_=f"{kind} cell", fill_opacity=0.04 + 0.96 * max(strength, 0),
            )
        )  # fmt: skip
    end = top + down * len(layers)
    parts.append(text(left, end + 14, "head 0"))
    parts.append(text(left + across * width, end + 14, width - 1, anchor="end"))
    parts.append(side_title(10, (top + end) / 2, "layer"))
    ends = f"from {values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}".replace("-", "\N{MINUS SIGN}")
    parts.append(text(left, end + 30, ends, class_="value"))
    return drawing(WIDTH, end + 36, f"Heat map over layers and heads: {title}, {ends}.", *parts)
