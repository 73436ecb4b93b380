"""The table in each form: the same numbers, the best marked, nothing of a name obeyed."""

import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.text import Text

from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import TABLE_COLUMNS
from mmadapter.evaluation.grid import DASH
from mmadapter.evaluation.predictions import Predictions, predictions_frame
from mmadapter.evaluation.render import FORMATS, render
from mmadapter.evaluation.rules import parse_outputs
from mmadapter.evaluation.table import result_table
from tests.evaluation.questions import N_TEST, answers

NASTY = "a|b_\x1b[31m & 50% <b>*"


def system(data, name, right, seed=0):
    given = answers(data["test"], right, seed)
    return Predictions(
        name, predictions_frame(list(given), prediction=list(given.values())), "as filed", f"{name}.json"
    )


def generated(data, asked, name):
    """Texts of which every third is not readable."""
    given = answers(data["test"], 0.5)
    texts = ["no idea" if i % 3 == 0 else f"({'ABCDE'[index]})" for i, index in enumerate(given.values())]
    frame = predictions_frame(list(given), output=texts).set_index("pid")
    frame[["prediction", "unparsed"]] = parse_outputs(frame["output"], asked["n_choices"], "strict")
    return Predictions(name, frame.reset_index(), "strict", f"{name}.jsonl")


@pytest.fixture(scope="module")
def table(data, asked):
    systems = [system(data, "multimodal", 0.9, 1), system(data, "text", 0.4, 2), generated(data, asked, "other")]
    return result_table(systems, asked, title="scienceqa test", intervals="wording", published=True)


@pytest.fixture(scope="module")
def unknown(data, asked):
    half = asked.assign(grade=asked["grade"].where(asked["has_image"]))
    return result_table([system(data, "multimodal", 0.9, 1)], half, title="scienceqa test")


def test_rows_say_whose_rule_and_what_it_could_not_read(table, asked):
    other = table.rows[2]
    unread = asked["n_choices"].iloc[::3]
    assert other.unparsed == len(unread) == 18
    assert other.random_credit == pytest.approx(100 * sum(1 / unread) / N_TEST)
    assert (table.rows[0].unparsed, table.rows[0].random_credit) == (None, None)
    assert [row.rule for row in table.rows] == ["as filed", "as filed", "strict"]
    assert {row.rule for row in table.published} == {None}


def test_csv_holds_every_number(table):
    rows = list(csv.DictReader(io.StringIO(render(table, "csv"))))
    chance, *rows = rows
    assert (chance["system"], chance["n"], chance["source"]) == ("chance", "53", "no model")
    assert {column: chance[column] for column in TABLE_COLUMNS} == table.baselines[0].digits
    assert [row["system"] for row in rows] == [row.name for row in (*table.rows, *table.published)]
    assert rows[2]["unparsed"] == "18"
    assert rows[0]["unparsed"] == ""
    for line, row in zip(rows, table.rows, strict=False):
        assert {column: line[column] for column in TABLE_COLUMNS} == row.digits
        assert line["NAT low"] == f"{row.intervals.loc['NAT', 'low']:.2f}"
        assert (line["n"], line["source"], line["rule"]) == ("53", row.source, row.rule)
    assert rows[-1]["Avg"] == "85.19"
    assert rows[-1]["Avg low"] == ""
    assert rows[-1]["source"].startswith("LLaMA-Adapter paper")


def test_json_is_strict_and_complete(table):
    content = json.loads(render(table, "json"), parse_constant=pytest.fail)
    first = content["systems"][0]
    row = table.rows[0]
    assert content["baselines"] == [{"name": "chance", "digits": table.baselines[0].digits}]
    for column in TABLE_COLUMNS:
        assert f"{first['columns'][column]['accuracy']:.2f}" == row.digits[column]
        low, high = first["columns"][column]["interval"]
        assert low < first["columns"][column]["accuracy"] < high
    assert first["columns"]["Avg"]["n"] == N_TEST
    assert content["systems"][2]["unparsed"] == 18
    assert [(c["a"], c["b"]) for c in content["comparisons"]] == [("multimodal", "text"), ("multimodal", "other")]
    assert content["comparisons"][0]["columns"]["Avg"]["p_holm"] is None
    assert content["comparisons"][0]["columns"]["NAT"]["p_holm"] <= 1
    assert content["published"][-1]["digits"]["Avg"] == "85.19"


def test_json_has_the_known_part_of_a_dash(unknown):
    column = json.loads(render(unknown, "json"))["systems"][0]["columns"]["G1-6"]
    score = unknown.rows[0].scores.loc["G1-6"]
    assert column["accuracy"] is None
    assert column["unknown"] == score["unknown"] > 0
    assert column["known"] == {
        "accuracy": round(score["known_accuracy"], 2),
        "n": score["n"],
        "correct": score["correct"],
    }


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_invents_a_number_for_the_unknown(form, unknown):
    known_part = f"{unknown.rows[0].scores.loc['G1-6', 'known_accuracy']:.2f}"
    assert known_part not in unknown.rows[0].digits.values()
    assert (known_part in render(unknown, form)) == (form == "json")
    assert "nan" not in render(unknown, form).lower()


def test_markdown_cells(table):
    lines = [line for line in render(table, "markdown").splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[:28]}) == 1
    for row, line in zip((*table.baselines, table.rows[0]), lines[3:7:3], strict=True):
        assert [cell.strip("* ") for cell in line.split("|")[2:11]] == list(row.digits.values())


@pytest.mark.parametrize("name", ["[x]", "*x*"])
def test_a_name_is_no_argument_of_latexs_line_break(name, table):
    """`\\\\` takes a star and an optional argument from the next line."""
    text = render(replace(table, rows=(replace(table.rows[0], name=name), *table.rows[1:])), "latex")
    assert f"\n{{}}{name} & " in text
    assert not re.search(r"\\\\\s*[\[*]", text)


def test_latex_is_booktabs(table):
    text = render(table, "latex")
    lines = text.splitlines()
    assert lines[1] == r"\begin{tabular}{lrrrrrrrrr}"
    rows = lines[lines.index(r"\toprule") : lines.index(r"\bottomrule")]
    assert {line.count("&") for line in rows if line.endswith(r"\\")} == {9}
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3


MARKS = {"table": r"([\d.]+)\*", "markdown": r"\*\*([\d.]+)\*\*", "latex": r"\\textbf\{([\d.]+)\}"}


@pytest.mark.parametrize("form", MARKS)
def test_the_best_of_every_column_is_marked_and_nothing_else(form, table):
    marked = re.findall(MARKS[form], render(table, form))
    numbers = {c: [float(row.digits[c]) for row in (*table.rows, *table.published[2:])] for c in TABLE_COLUMNS}
    assert table.published[1].name == "Human"  # a level, no system
    best = [f"{max(numbers[c]):.2f}" for c in TABLE_COLUMNS]
    assert sorted(set(marked)) == sorted(set(best))
    assert len(marked) >= len(TABLE_COLUMNS)


def test_nothing_is_best_alone(unknown):
    assert unknown.best() == {}
    assert "*" not in render(unknown, "table")


def test_terminal_lines_fit_80_columns_with_whole_numbers(table, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = Text.from_ansi(render(table, "table", terminal=True)).plain
    results, *pairs = text.split("question by question")
    assert max(map(len, results.splitlines())) == 80  # names are folded, numbers are whole
    assert max(len(line) for pair in pairs for line in pair.splitlines()) <= 90
    for row in (*table.rows, *table.published):
        assert all(digits in text for digits in row.digits.values())
    assert "\x1b[" in render(table, "table", terminal=True)
    assert "\x1b" not in render(table, "table")


@pytest.mark.parametrize("form", FORMATS)
def test_a_name_is_text_and_no_command(form, data, asked):
    text = render(result_table([system(data, NASTY, 0.5)], asked, title="scienceqa test"), form)
    assert "\x1b" not in text
    if form == "markdown":
        assert r"a\|b\_\\x1b[31m & 50% \<b\>\*" in text
    if form == "latex":
        assert r"a|b\_\textbackslash{}x1b[31m \& 50\% $<$b$>$*" in text


def test_notes(table, unknown):
    assert "not over these" in render(table)  # 53 questions beside 4,241
    assert "[1] LLaMA-Adapter paper" in render(table)
    assert "\n*: the best of its column" in render(table)
    assert "\nmultimodal, text: rule as filed\nother: rule strict, 18 unparsed, random credit " in render(table)
    assert DASH in render(unknown)
    assert "no such question" in render(unknown)
    assert "no such question" not in render(table)


def test_no_systems_and_two_of_a_name(data, asked):
    with pytest.raises(UserError, match="nothing to evaluate"):
        result_table([], asked, title="")
    with pytest.raises(UserError, match="two systems have the same name: a"):
        result_table([system(data, "a", 0.5)] * 2, asked, title="")
