"""The page's Markdown tables and verdicts, from a study's results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from eval.results import Estimate, Results, estimate
from eval.runs import WORDINGS, run_key
from eval.study import Arm, Claim, Exhibit, Study
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, published_rows
from mmadapter.evaluation.grid import DASH, markdown_table
from mmadapter.evaluation.reliance import CONDITIONS, LABELS
from mmadapter.evaluation.statistics import mcnemar

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
    return estimate(results.right(keys, split, column) if keys else np.zeros((0, 0)))


def written_accuracy(arm: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Return the accuracy of an arm's written answers in percent; NaN where it wrote none."""
    return estimate(results.right_generated(keys_of(arm, study, results), split, column))


def difference_of(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Return accuracy of a minus b in points, paired over the same seeds and questions."""
    first, second = _paired(a, b, study, results, split, column)
    return estimate(first.astype(int) - second.astype(int))


def _paired(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The correct answers of both, bool[S, Q], for the seeds that both have."""
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
    """The paper's Table 2: our arms above its published rows."""
    rows = []
    for arm in compared(exhibit, study, results):
        cells = [accuracy_of(arm, study, results, "test", column) for column in TABLE_COLUMNS]
        rows.append([f"**{arm.label}**", *map(with_interval, cells)])
        cells = [written_accuracy(arm, study, results, "test", column) for column in TABLE_COLUMNS]
        if cells[0].seeds:
            rows.append([f"{arm.label}, generated", *map(with_interval, cells)])
    questions = results.questions["test"]
    rows.append(["questions", *(f"{questions.member(column).sum():,}" for column in TABLE_COLUMNS)])
    if study.base.dataset == "scienceqa":
        rows += published_rows()[["system", *TABLE_COLUMNS]].fillna("").values.tolist()
    return markdown_table(["", *TABLE_COLUMNS], rows)


def classes_table(exhibit: Exhibit, study: Study, results: Results) -> str:
    """One row a class of questions: both arms and their difference."""
    a, b = exhibit.arms(study)
    rows = []
    for name in results.questions["test"].classes:
        gain = difference_of(a, b, study, results, "test", name)
        if not math.isnan(gain.mean):
            sides = [f"{accuracy_of(arm, study, results, 'test', name).mean:.2f}" for arm in (a, b)]
            rows.append([name, f"{gain.questions:,}", *sides, with_interval(gain, signed=True)])
    table = markdown_table(["", "questions", a.label, b.label, "difference"], rows)
    return "\n\n".join([table, *controls_tables(a, study, results)])


def controls_tables(arm: Arm, study: Study, results: Results) -> list[str]:
    """An arm's accuracy on questions with an image under each condition of the image; none where it was not asked."""
    keys = [key for key in keys_of(arm, study, results) if results.runs[key].controls]
    if not keys:
        return []
    right = {name: results.right_with(keys, name).astype(int) for name in CONDITIONS}
    loss = {name: with_interval(estimate(right[name] - right["true"]), signed=True) for name in CONDITIONS[1:]}
    rows = [[LABELS[name], with_interval(estimate(right[name])), loss.get(name, "")] for name in CONDITIONS]
    heading = f"Does the {arm.label} adapter use the picture? Test IMG:"
    return [heading, markdown_table(["", "accuracy", "minus true image"], rows)]


def verdict(claim: Claim, exhibit: Exhibit, study: Study, results: Results) -> str:
    """A claim, and whether the results agree with it."""
    arms = exhibit.arms(study)
    a, b = arms[claim.better], arms[claim.worse]
    column = claim.column or study.column
    paper = "not measured in the paper"
    if claim.paper:
        paper = f"{' and '.join(published()[row][claim.column or 'Avg'] for row in claim.paper)} in the paper"
    opening = f"- {claim.text} ({paper})."
    gain = difference_of(a, b, study, results, "test", column)
    if math.isnan(gain.mean):
        return f"{opening} *Not run.*"
    found = "Agrees" if gain.low > claim.least else "Disagrees" if gain.high < claim.least else "Inconclusive"
    points = f"{a.label} minus {b.label} on test {column}: {with_interval(gain, signed=True)} points"
    over = f"{gain.seeds} seed{'s' if gain.seeds > 1 else ''}, {gain.questions:,} questions"
    if gain.seeds == 1:
        first, second = _paired(a, b, study, results, "test", column)
        over += f"; McNemar's p = {mcnemar(int((first & ~second).sum()), int((second & ~first).sum())):.2g}"
    return f"{opening} **{found}**: {points}; {over}."


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
        for values in ([run[f"{split}_accuracy"] for run in runs] for split in ("val", "test")):
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


def readout_tables(record: dict[str, Any], exhibit: Exhibit, study: Study, results: Results) -> str:
    """An exhibit's arms beside the linear read-out of the image features, on the test questions that it answers; and
    both towers on val, if a tower that was trained further was read out too.

    Args:
        record: from `eval.readout`.
    """
    towers = {name: {split: _digits(text) for split, text in own.items()} for name, own in record["towers"].items()}
    answers = next(iter(towers.values()))["test"]
    answered = answers >= 0
    found = {"linear read-out": answers[None, answered]}
    for arm in exhibit.arms(study):
        if keys := keys_of(arm, study, results):
            found[arm.label] = results.right(keys, "test", "Avg")[:, answered].astype(int)
    tables = [markdown_table(["", "test questions", "accuracy"], _rows(found))]
    if len(towers) > 1:
        val = {name: splits["val"][None, splits["val"] >= 0] for name, splits in towers.items()}
        before, after = val.values()
        difference = ["difference", "", with_interval(estimate(after - before), signed=True)]
        tables.append(markdown_table(["", "val questions", "accuracy"], [*_rows(val), difference]))
    return "\n\n".join(tables)


def _digits(text: str) -> np.ndarray:
    """A read-out's answers: 1 correct, 0 wrong, -1 not answered."""
    return np.array([-1 if digit == "-" else int(digit) for digit in text])


def _rows(found: dict[str, np.ndarray]) -> list[list[str]]:
    return [[name, f"{right.shape[1]:,}", with_interval(estimate(right))] for name, right in found.items()]


def choices_table(record: dict[str, Any]) -> str:
    """The settings in which the trainings of `eval.choose` differ, and accuracy with its standard error."""
    trained = [(found["settings"], found["right"]) for found in record.values()]
    classes = trained[0][1]
    values = {name: [settings.get(name) for settings, _ in trained] for settings, _ in trained for name in settings}
    differ = [name for name, tried in values.items() if any(value != tried[0] for value in tried)]
    rows = [
        [*(_setting(settings.get(name)) for name in differ), *(_share(*right[name]) for name in classes)]
        for settings, right in trained
    ]
    rows.append(["questions", *[""] * (len(differ) - 1), *(f"{n:,}" for _, n in classes.values())])
    head = [*(f"`{name}`" for name in differ), *(name.removeprefix(WORDINGS) for name in classes)]
    return markdown_table(head, rows)


def _setting(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _share(right: int, n: int) -> str:
    return f"{100 * right / n:.1f} ± {100 * math.sqrt(right * (n - right) / n**3):.1f}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else DASH


TABLES = {"arms": arms_table, "curves": arms_table, "columns": columns_table, "classes": classes_table}
"""By the kind of an exhibit's figure."""
