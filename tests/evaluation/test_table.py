"""Baselines, intervals and comparisons of the table: by which unit, and against what."""

import pandas as pd
import pytest

from mmadapter.evaluation import estimates
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, question_classes
from mmadapter.evaluation.baselines import CHANCE, FREQUENT, PRIOR, baselines
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.render import FORMATS, render
from mmadapter.evaluation.statistics import accuracy_intervals, compare
from mmadapter.evaluation.table import result_table
from mmadapter.evaluation.wordings import cluster_ids
from tests.evaluation.test_render import system


@pytest.fixture(scope="module")
def systems(data):
    return [system(data, "good", 0.9, 1), system(data, "poor", 0.4, 2)]


@pytest.fixture(scope="module")
def looked_up(data, asked):
    return baselines(asked, question_frame(data["val"]))


def test_chance_stands_in_every_table_and_is_never_best(systems, asked):
    table = result_table(systems, asked, title="")
    (chance,) = table.baselines
    for column, mask in question_classes(asked).items():
        among = asked.loc[mask.fillna(False).astype(bool), "n_choices"]
        if chance.digits[column] is not None:
            assert float(chance.digits[column]) == pytest.approx(100 * (1 / among).mean(), abs=0.005)
    assert chance.intervals is None
    assert not table.gains
    for column, best in table.best().items():
        assert float(best) == max(float(row.digits[column]) for row in table.rows)


@pytest.mark.parametrize("unit", ["wording", "question"])
def test_intervals_have_their_unit(unit, systems, asked):
    table = result_table(systems, asked, title="", intervals=unit)
    row, frame = table.rows[0], table.rows[0].frame
    compared = table.comparisons["good", "poor"]
    if unit == "question":
        pd.testing.assert_frame_equal(row.intervals, accuracy_intervals(frame))
        pd.testing.assert_frame_equal(compared, compare(frame, table.rows[1].frame))
        return
    for column in ("Avg", "IMG"):
        member = question_classes(frame)[column].astype(bool)
        credit, other = (each.frame.loc[member, "correct"].astype(float) for each in table.rows)
        assert tuple(row.intervals.loc[column]) == estimates.estimate_accuracy(credit, cluster_ids(asked)).interval()
        difference = estimates.estimate_difference(credit, other, cluster_ids(asked))
        assert tuple(compared.loc[column, ["low", "high"]]) == pytest.approx(difference.interval())
        assert compared.loc[column, "p"] == pytest.approx(difference.p())
    assert compared["p_mcnemar"].equals(compare(frame, table.rows[1].frame)["p"].rename("p_mcnemar"))


def test_a_gain_is_over_the_best_baseline_of_its_column(systems, asked, looked_up):
    table = result_table(systems, asked, title="", intervals="wording", baselines=looked_up)
    assert [row.name for row in table.baselines] == [CHANCE, FREQUENT, PRIOR]
    gains = table.gains["good"]
    for column, gain in gains.iterrows():
        numbers = {row.name: float(row.digits[column]) for row in table.baselines}
        assert numbers[gain["baseline"]] == max(numbers.values())
        ours = float(table.rows[0].digits[column])
        assert gain["difference"] == pytest.approx(ours - max(numbers.values()), abs=0.011)
        assert gain["low"] < gain["difference"] < gain["high"]
    assert list(gains.index) == [column for column in TABLE_COLUMNS if table.rows[0].digits[column] is not None]


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_has_every_baseline(form, systems, asked, looked_up):
    table = result_table(systems, asked, title="", intervals="wording", baselines=looked_up)
    text = render(table, form)
    for row in table.baselines:
        assert row.name in text
        assert row.digits["Avg"] in text
    assert ("minus the best baseline" in text) == (form in ("table", "markdown", "latex"))


@pytest.mark.parametrize("form", FORMATS)
def test_further_classes_have_a_table_of_their_own(form, systems, asked):
    classes = {"odd": pd.Series([i % 2 == 1 for i in range(len(asked))], asked.index, dtype="boolean")}
    table = result_table(systems, asked, title="", classes={"parity": classes})
    for row in table.rows:
        expected = 100 * row.frame["correct"].iloc[1::2].mean()
        assert table.classes["parity"][row.name].loc["odd", "accuracy"] == pytest.approx(expected)
    assert list(table.classes["parity"]) == [CHANCE, "good", "poor"]
    assert ("odd" in render(table, form)) == (form != "csv")
