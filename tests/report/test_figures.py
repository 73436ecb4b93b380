"""What is drawn against what it is drawn from."""

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.report.figures import (
    bars,
    differences,
    heat_map,
    loss_curves,
    reliability_diagram,
    risk_coverage_curves,
)
from mmadapter.report.svg import Plot, element, nice_ticks
from mmadapter.runs.records import Curve, HeadRecord


def attributes(svg: str, tag: str) -> list[dict[str, str]]:
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', found)) for found in re.findall(rf"<{tag} ([^>]*)>", svg)]


def test_elements_are_escaped():
    assert str(element("text", "<b>&", class_='"a')) == '<text class="&#34;a">&lt;b&gt;&amp;</text>'
    assert str(element("g", element("b"), x=1.5, y=2.0, z=None)) == '<g x="1.5" y="2"><b></b></g>'


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_enclose_the_data_in_round_steps(low, size):
    ticks = nice_ticks(low, low + size)
    assert ticks[0] <= low + 1e-6 * size
    assert ticks[-1] >= low + size - 1e-6 * size
    assert 3 <= len(ticks) <= 9
    steps = np.diff(ticks)
    assert steps == pytest.approx(steps[0], rel=1e-6, abs=1e-9)


def test_ticks_of_a_single_value():
    assert nice_ticks(3, 3)[0] < 3 < nice_ticks(3, 3)[-1]


def test_a_bar_is_as_long_as_its_number():
    cells = pd.DataFrame({"accuracy": [50.0, 25.0, math.nan], "low": 20.0, "high": 60.0}, index=["Avg", "NAT", "SOC"])
    drawn = attributes(str(bars({"ours": cells}, {"ours": 1}, ["Avg", "NAT", "SOC"], label="")), "rect")
    first, second = (float(rect["width"]) for rect in drawn)
    assert first == pytest.approx(2 * second, abs=0.02)
    assert all(rect["class"] == "s1 bar" for rect in drawn)


def test_a_filled_mark_is_significant_after_correction():
    compared = pd.DataFrame(
        {
            "difference": [-5.0, 4.0, 3.0],
            "low": [-9.0, 1.0, -2.0],
            "high": [-1.0, 7.0, 8.0],
            "n": 100,
            "p": [0.01, 0.03, 0.2],
            "p_holm": [math.nan, 0.06, 0.2],
        },
        index=["Avg", "NAT", "SOC"],
    )
    svg = str(differences(compared, ["Avg", "NAT", "SOC", "LAN"], "a", "b", group=20, left=46))
    marks = attributes(svg, "circle")
    assert [mark["class"] for mark in marks] == ["solid", "hollow", "hollow"]
    x = [float(mark["cx"]) for mark in marks]
    assert (x[1] - x[0]) / (x[1] - x[2]) == pytest.approx(9.0, rel=0.01)
    assert "\N{MINUS SIGN}5.00" in svg
    assert "LAN" in svg


def test_a_cell_is_as_strong_as_its_number():
    heads = pd.DataFrame(
        {"layer": [2, 2, 3, 3], "head": [0, 1, 0, 1], "gate": [0.0, 0.5, -1.0, 0.25], "effective": [1.0, 4.0, 7.0, 4.0]}
    )
    record = HeadRecord(questions=5, with_image=0, adapter_len=7, heads=heads)
    cells = attributes(str(heat_map(record, "gate", 0, 1.0)), "rect")
    strength = [float(cell["fill-opacity"]) for cell in cells]
    assert strength == pytest.approx([0.04, 0.52, 1.0, 0.28])
    assert [cell["class"] for cell in cells] == ["s0 cell", "s0 cell", "negative cell", "s0 cell"]
    assert float(cells[0]["y"]) > float(cells[2]["y"])  # the lower layer is lower
    effective = [float(cell["fill-opacity"]) for cell in attributes(str(heat_map(record, "effective", 0, 7)), "rect")]
    assert effective == pytest.approx([0.04, 0.52, 1.0, 0.52])


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, 400)
    return pd.DataFrame({"confidence": confidence, "correct": rng.uniform(size=400) < confidence}).convert_dtypes()


def test_a_calibrated_system_lies_on_the_diagonal(frame):
    plot = Plot([0, 1], [0, 1], height=300)
    marks = attributes(str(reliability_diagram({"a": frame}, {"a": 0})), "circle")
    assert len(marks) == 7
    for mark in marks:
        across = (float(mark["cx"]) - plot.x(0)) / (plot.x(1) - plot.x(0))
        up = (float(mark["cy"]) - plot.y(0)) / (plot.y(1) - plot.y(0))
        assert across == pytest.approx(up, abs=0.2)


def test_the_risk_curve_ends_at_the_error_rate(frame):
    svg = str(risk_coverage_curves({"a": frame}, {"a": 0}))
    assert f"risk {1 - frame['correct'].mean():.3f} where every question is answered" in svg


def test_a_system_that_is_never_wrong_has_a_risk_curve():
    sure = pd.DataFrame({"confidence": [0.9, 0.8], "correct": [True, True]}).convert_dtypes()
    assert "risk 0.000" in str(risk_coverage_curves({"a": sure}, {"a": 0}))


def curve(train: float, val: float) -> Curve:
    epochs = pd.DataFrame(
        {"epoch": [1, 2], "train_loss": [train] * 2, "val_loss": [val] * 2, "val_accuracy": [50.0] * 2}
    )
    return Curve(epochs, pd.DataFrame({"epoch": [0.5, 1.5], "loss": [train] * 2}))


def test_losses_of_different_meaning_are_in_different_drawings():
    curves = {"plain": curve(0.31, 0.32), "chooses": curve(7.1, 0.34)}
    colours = {"plain": 0, "chooses": 1}
    answers, added = loss_curves(curves, colours, {"plain": 0.0, "chooses": 10.0})
    tooltips = [set(re.findall(r"<title>([^<]*), epoch 1: ([^<]*)</title>", str(each))) for each in (answers, added)]
    assert tooltips == [
        {
            ("plain, training loss", "0.310"),
            ("plain, validation loss", "0.320"),
            ("chooses, validation loss", "0.340"),
        },
        {("chooses, training loss", "7.100")},
    ]
    assert "loss, nats a token + 10 \N{MULTIPLICATION SIGN} nats a choice" in str(added)
    assert len(loss_curves(curves, colours, dict.fromkeys(curves, 0.0))) == 1
