"""The page's Markdown tables and verdicts, from a study's results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from eval.results import Estimate, Questions, Results, accuracy, difference, gain
from eval.runs import WORDINGS, run_key
from eval.study import Arm, Claim, Exhibit, Study
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, percent, published_rows
from mmadapter.evaluation.grid import DASH, markdown_table
from mmadapter.evaluation.reliance import CONDITIONS, LABELS, UNLIKE_TRAINING
from mmadapter.evaluation.verdicts import Verdict, verdicts

MINUS = "\N{MINUS SIGN}"
BYTES = {"LLaMA-Adapter": 4, "LoRA": 4, "full fine-tuning": 2}
"""Bytes stored for a weight in the paper's Table 3."""


def keys_of(arm: Arm, study: Study, results: Results) -> list[str]:
    """Return the keys of an arm's finished runs, by seed."""
    return [key for seed in study.seeds if (key := run_key(arm.config(study, seed))) in results.runs]


def compared(exhibit: Exhibit, study: Study, results: Results) -> list[Arm]:
    """Return the arms of an exhibit that have runs; none if there is nothing to compare."""
    arms = [arm for arm in exhibit.arms(study) if keys_of(arm, study, results)]
    return arms if len(arms) > 1 else []


def accuracy_of(arm: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Return an arm's accuracy in percent; NaN without runs or questions."""
    keys = keys_of(arm, study, results)
    right = results.right(keys, split, column) if keys else np.zeros((0, 0))
    return _accuracy(right, results, split, column)


def written_accuracy(arm: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Return the accuracy of an arm's written answers in percent; NaN where it wrote none."""
    return _accuracy(results.right_generated(keys_of(arm, study, results), split, column), results, split, column)


def _accuracy(right: np.ndarray, results: Results, split: str, column: str) -> Estimate:
    if not right.size:
        return Estimate(math.nan, math.nan, math.nan, *right.shape)
    return accuracy(right, results.clusters(split, column))


def difference_of(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Return accuracy of a minus b in points, paired over the same seeds and questions; NaN without any."""
    first, second = _paired(a, b, study, results, split, column)
    if not first.size:
        return Estimate(math.nan, math.nan, math.nan, *first.shape)
    return gain(first, second, results.clusters(split, column))


def gain_over_baseline(arm: Arm, study: Study, results: Results, column: str) -> tuple[str, Estimate]:
    """Return the best baseline of a column of the test split, and accuracy of an arm minus the baseline's."""
    credits = {name: results.credit(name, "test", column) for name in results.questions["test"].credits}
    best = max(credits, key=lambda name: credits[name].mean())
    right = results.right(keys_of(arm, study, results), "test", column)
    return best, gain(right, credits[best], results.clusters("test", column))


def _paired(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the correct answers of both, bool[S, Q], for the seeds that both have."""
    pairs = [tuple(run_key(arm.config(study, seed)) for arm in (a, b)) for seed in study.seeds]
    pairs = [keys for keys in pairs if all(key in results.runs for key in keys)]
    if not pairs:
        return np.zeros((0, 0), dtype=bool), np.zeros((0, 0), dtype=bool)
    first, second = (results.right(list(keys), split, column) for keys in zip(*pairs, strict=True))
    return first, second


def arms_table(exhibit: Exhibit, study: Study, results: Results) -> str:
    """One row an arm: trained parameters, accuracy, losses of the last epoch, the paper's number; and the accuracy of
    written answers where several arms have some."""
    tests = list(dict.fromkeys(["Avg", "IMG"] if study.column == "Avg" else ["IMG"]))
    arms = [(arm, [results.runs[key] for key in keys_of(arm, study, results)])
            for arm in compared(exhibit, study, results)]  # fmt: skip
    written = sum(any("val" in run.generated for run in runs) for _, runs in arms) > 1
    rows = []
    for arm, runs in arms:
        cells = [accuracy_of(arm, study, results, "val", study.column)]
        cells += [accuracy_of(arm, study, results, "test", column) for column in tests]
        cells += [written_accuracy(arm, study, results, "val", study.column)] if written else []
        losses = [_mean([run.epochs[-1][name] for run in runs]) for name in ("train_loss", "val_loss")]
        paper = published().get(arm.published or "", {}).get("Avg", "")
        rows.append([arm.label, str(len(runs)), f"{runs[0].trained:,}", *map(with_interval, cells), *losses, paper])
    head = ["", "seeds", "trained", f"val {study.column}", *(f"test {column}" for column in tests)]
    head += [f"val {study.column}, generated"] if written else []
    return markdown_table([*head, "train loss", "val loss", "paper"], rows)


def columns_table(exhibit: Exhibit, study: Study, results: Results) -> str:
    """The paper's Table 2: baselines and our arms above its published rows; and what our arms gain."""
    questions = results.questions["test"]
    arms = compared(exhibit, study, results)
    columns = [column for column in TABLE_COLUMNS if questions.member(column).any()]
    rows = [["questions", *(f"{questions.member(column).sum():,}" for column in TABLE_COLUMNS)]]
    for name in questions.credits:
        cells = [_accuracy(results.credit(name, "test", column), results, "test", column) for column in TABLE_COLUMNS]
        rows.append([name, *map(with_interval, cells)])
    for arm in arms:
        cells = [accuracy_of(arm, study, results, "test", column) for column in TABLE_COLUMNS]
        rows.append([f"**{arm.label}, chosen**", *map(with_interval, cells)])
        cells = [written_accuracy(arm, study, results, "test", column) for column in TABLE_COLUMNS]
        rows.append([f"{arm.label}, written", *(map(with_interval, cells) if cells[0].seeds else ["not asked"])])
    if study.base.dataset == "scienceqa":
        rows += published_rows()[["system", *TABLE_COLUMNS]].fillna("").values.tolist()
    width = len(TABLE_COLUMNS) + 1
    table = markdown_table(["", *TABLE_COLUMNS], [[*row, *[""] * (width - len(row))] for row in rows])
    gains = []
    for column in columns:
        own = [gain_over_baseline(arm, study, results, column) for arm in arms]
        cells = [difference_of(*arms[:2], study, results, "test", column), *(found for _, found in own)]
        gains.append([column, own[0][0], *(with_interval(found, signed=True) for found in cells)])
    a, b = arms[:2]
    head = ["", "best baseline", f"{a.label} minus {b.label}", *(f"{arm.label} minus baseline" for arm in arms)]
    return f"{table}\n\nGains in points, *chosen*:\n\n{markdown_table(head, gains)}"


def classes_table(exhibit: Exhibit, study: Study, results: Results) -> str:
    """One row a class of questions: both arms, the best baseline, and the arms' difference."""
    a, b = exhibit.arms(study)
    rows = []
    for name in results.questions["test"].classes:
        found = difference_of(a, b, study, results, "test", name)
        if not math.isnan(found.mean):
            sides = [f"{accuracy_of(arm, study, results, 'test', name).mean:.2f}" for arm in (a, b)]
            best, _ = gain_over_baseline(a, study, results, name)
            credit = f"{100 * results.credit(best, 'test', name).mean():.2f} ({best})"
            rows.append([name, f"{found.questions:,}", *sides, credit, with_interval(found, signed=True)])
    head = ["", "questions", a.label, b.label, "best baseline", f"{a.label} minus {b.label}"]
    return "\n\n".join([markdown_table(head, rows), *controls_tables(a, study, results)])


def controls_tables(arm: Arm, study: Study, results: Results) -> list[str]:
    """An arm's accuracy on questions with an image under each condition of the image; none where it was not asked."""
    keys = [key for key in keys_of(arm, study, results) if results.runs[key].controls]
    if not keys:
        return []
    rows = []
    for name in CONDITIONS:
        if any(name not in results.runs[key].controls for key in keys):
            continue
        both, clusters = results.right_with(keys, name)
        here, true = both[: len(keys)], both[len(keys) :]
        loss = "" if name == "true" else with_interval(gain(here, true, clusters), signed=True)
        rows.append([LABELS[name], f"{len(clusters):,}", with_interval(accuracy(here, clusters)), loss])
    heading = f"Does the {arm.label} adapter use the picture? Test IMG:"
    return [heading, markdown_table(["", "questions", "accuracy", "minus true image"], rows), UNLIKE_TRAINING + "."]


def verdict_lines(exhibits: Sequence[Exhibit], study: Study, results: Results) -> str:
    """The claims of all exhibits, one family, and whether the results agree with each."""
    claims = [(exhibit, claim) for exhibit in exhibits for claim in exhibit.claims]
    shifted = {}
    for number, (exhibit, claim) in enumerate(claims):
        arms, column = exhibit.arms(study), claim.column or study.column
        pair = _paired(arms[claim.better], arms[claim.worse], study, results, "test", column)
        if pair[0].size:
            found = difference(*pair, results.clusters("test", column))
            shifted[str(number)] = replace(found, value=found.value - claim.least)
    judged = verdicts(shifted)
    return "\n".join(
        _verdict_line(exhibit, claim, study, judged.get(str(number))) for number, (exhibit, claim) in enumerate(claims)
    )


def _verdict_line(exhibit: Exhibit, claim: Claim, study: Study, judged: Verdict | None) -> str:
    arms, column = exhibit.arms(study), claim.column or study.column
    paper = "not measured in the paper"
    if claim.paper:
        paper = f"{' and '.join(published()[row][claim.column or 'Avg'] for row in claim.paper)} in the paper"
    opening = f"- {claim.text} ({paper})."
    if judged is None:
        return f"{opening} *Not run.*"
    word = {"better": "Agrees", "worse": "Disagrees"}.get(judged.word, "Inconclusive")
    mean, low, high = (value + claim.least for value in (judged.difference.value, judged.low, judged.high))
    found = judged.difference
    shown = with_interval(Estimate(mean, low, high, found.seeds, found.n), signed=True)
    points = f"{arms[claim.better].label} minus {arms[claim.worse].label} on test {column}: {shown} points"
    return f"{opening} **{word}**: {points}; {found.n:,} questions, over {found.over}; p {judged.p:.2g} (Holm)."


@cache
def published() -> dict[str, dict[str, str]]:
    """The paper's rows by name, then column; ablations are for the val split."""
    rows = [*published_rows(("paper-ablation",), "val").to_dict("records"), *published_rows().to_dict("records")]
    return {row["system"]: row for row in rows}


def with_interval(value: Estimate, *, signed: bool = False) -> str:
    """Write a mean and its interval."""
    if math.isnan(value.mean):
        return DASH
    form = "+.2f" if signed else ".2f"
    low, high = (value.low, value.high) if signed else (max(0.0, value.low), min(100.0, value.high))
    mean, low, high = (format(number, form).replace("-", MINUS) for number in (value.mean, low, high))
    return f"{mean} ({low} to {high})"


def efficiency_tables(record: dict[str, Any]) -> str:
    """Table 3: the weights that each method tunes on LLaMA-7B, counted, and its training on the tiny LLaMA, measured.

    Args:
        record: from `eval.efficiency`.
    """
    counted, measured = [], []
    for method, tuned in record["counted"].items():
        stored, precision = tuned * BYTES[method], "half" if BYTES[method] == 2 else "single"
        size = f"{stored / 1e6:,.1f} MB = {stored / 2**20:,.1f} MiB ({precision} precision)"
        counted.append([method, f"{tuned:,}", size, *record["published"][method]])
        trained = [run for run in record["trained"] if run["method"] == method]
        rates, best = sorted({run["rate"] for run in trained}), record["rates"][method]
        runs = [run for run in trained if run["rate"] == best]
        row = [method, f"{runs[0]['tuned']:,}", f"{best:g} of {', '.join(f'{rate:g}' for rate in rates)}"]
        row.append(f"{statistics.median(run['seconds'] for run in runs):.0f} s")
        row.append(f"{statistics.median(run['memory'] for run in runs) / 2**20:.0f} MiB")
        for split in ("val", "test"):
            if any(split not in run for run in runs):  # a record from before 2026-11-27 does not hold each question
                row.append(DASH)
                continue
            values = [percent(run[split].count("1"), len(run[split])) for run in runs]
            row.append(f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        measured.append(row)
    settings = record["settings"]
    head = ["", "tuned", "learning rate", "training", "memory beyond the model", "val Avg", "test, no image"]
    return "\n\n".join(
        [
            "Counted, LLaMA-7B:",
            markdown_table(["", "tuned parameters", "storage", "paper: tuned", "paper: storage"], counted),
            f"Measured, the embedded tiny LLaMA, {settings['epochs']} epochs, mean and range over "
            f"{len(settings['seeds'])} seeds:",
            markdown_table(head, measured),
        ]
    )


def coverage_table(record: dict[str, Any]) -> str:
    """Return the share of simulations in which each interval held the truth, least to most over numbers of seeds.

    Args:
        record: from `eval.coverage`.
    """
    methods = {"questions": "questions as if independent", "bootstrap": "bootstrap of wordings", "cluster-t": "ours"}
    kinds = list(dict.fromkeys((cell["class"], cell["sizes"]) for cell in record["coverage"]))
    rows = []
    for kind in kinds:
        cells = [cell for cell in record["coverage"] if (cell["class"], cell["sizes"]) == kind]
        row = [kind[0], f"{cells[0]['questions']:,}", f"{cells[0]['clusters']:,}", kind[1]]
        for measure in ("accuracy", "difference"):
            for method in methods:
                covered = [cell[measure][method]["covered"] for cell in cells]
                row.append(f"{min(covered):.1f} to {max(covered):.1f}")
        rows.append(row)
    head = ["", "questions", "wordings", "sizes"]
    head += [f"{measure}, {name}" for measure in ("accuracy", "difference") for name in methods.values()]
    return markdown_table(head, rows)


def choices_table(record: dict[str, Any]) -> str:
    """The settings in which the trainings of `eval.choose` differ, and accuracy in total and by class.

    Args:
        record: from `eval.choose`: for each training its settings, a digit a held-out question, and their classes and
            wordings.
    """
    trained = list(record.values())
    classes = trained[0]["classes"]
    values = {name: [each["settings"].get(name) for each in trained] for each in trained for name in each["settings"]}
    differ = [name for name, tried in values.items() if any(value != tried[0] for value in tried)]
    rows = []
    for each in trained:
        asked = Questions(len(each["right"]), each["classes"], each["wording"])
        right = np.array([int(digit) for digit in each["right"]])[None]
        members = [asked.member(name) for name in classes]
        cells = [accuracy(right[:, m], np.array(asked.wording)[m]) for m in members]
        rows.append([*(_setting(each["settings"].get(name)) for name in differ), *map(with_interval, cells)])
    rows.append(["questions", *[""] * (len(differ) - 1), *(f"{digits.count('1'):,}" for digits in classes.values())])
    head = [*(f"`{name}`" for name in differ), *(name.removeprefix(WORDINGS) for name in classes)]
    return markdown_table(head, rows)


def _setting(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else DASH


TABLES = {"arms": arms_table, "curves": arms_table, "columns": columns_table, "classes": classes_table}
"""By the kind of an exhibit's figure."""
