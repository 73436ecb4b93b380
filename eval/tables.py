"""Tables and sentences, in Markdown, from what a study found."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.results import Estimate, Results, estimate
from eval.runs import WORDINGS, run_key
from eval.study import Arm, Claim, Exhibit, Study
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, published_rows
from mmadapter.evaluation.reliance import CONDITIONS, LABELS
from mmadapter.evaluation.statistics import mcnemar

MINUS = "\N{MINUS SIGN}"


def keys_of(arm: Arm, study: Study, results: Results) -> list[str]:
    """Of an arm's runs that there are, by seed."""
    return [key for seed in study.seeds if (key := run_key(arm.config(study, seed))) in results.runs]


def compared(recipe: Exhibit, study: Study, results: Results) -> list[Arm]:
    """A recipe's arms that have runs; none where only one has."""
    arms = [arm for arm in recipe.arms(study) if keys_of(arm, study, results)]
    return arms if len(arms) > 1 else []


def accuracy_of(arm: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """In percent; NaN where there is no run, or no such question."""
    keys = keys_of(arm, study, results)
    return estimate(results.right(keys, split, column) if keys else np.zeros((0, 0)))


def difference_of(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> Estimate:
    """Accuracy of a minus b, in points, paired: the same seeds on the same questions."""
    first, second = _paired(a, b, study, results, split, column)
    return estimate(first.astype(int) - second.astype(int))


def _paired(a: Arm, b: Arm, study: Study, results: Results, split: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """bool[S, Q] of each: which questions were answered right, of the seeds that both have."""
    pairs = [tuple(run_key(arm.config(study, seed)) for arm in (a, b)) for seed in study.seeds]
    pairs = [keys for keys in pairs if all(key in results.runs for key in keys)]
    if not pairs:
        return np.zeros((0, 0), dtype=bool), np.zeros((0, 0), dtype=bool)
    first, second = (results.right(list(keys), split, column) for keys in zip(*pairs, strict=True))
    return first, second


def arms_table(recipe: Exhibit, study: Study, results: Results) -> str:
    """A row an arm: what trains, accuracy on val and test, losses of the last epoch, and the paper's number; where
    several arms were asked to write their answers, how often these were right."""
    published = _published()
    columns = ["Avg"] if study.column == "Avg" else []
    columns += ["IMG"]
    arms = [(arm, keys_of(arm, study, results)) for arm in compared(recipe, study, results)]
    written = sum(any("val" in results.runs[key].generated for key in keys) for _, keys in arms) > 1
    head = ["", "seeds", "trained", f"val {study.column}", *(f"test {column}" for column in columns)]
    head += [f"val {study.column}, generated"] if written else []
    rows = []
    for arm, keys in arms:
        runs = [results.runs[key] for key in keys]
        cells = [accuracy_of(arm, study, results, split, column) for split, column in
                 [("val", study.column), *(("test", column) for column in columns)]]  # fmt: skip
        cells += [estimate(results.right_generated(keys, "val", study.column))] if written else []
        losses = [_mean([run.epochs[-1][name] for run in runs]) for name in ("train_loss", "val_loss")]
        row = [arm.label, str(len(keys)), f"{runs[0].trained:,}", *map(told, cells), *losses]
        rows.append([*row, published.get(arm.published or "", "")])
    return markdown([*head, "train loss", "val loss", "paper"], rows)


def columns_table(recipe: Exhibit, study: Study, results: Results) -> str:
    """The paper's Table 2: our arms over its published rows."""
    rows = []
    for arm in compared(recipe, study, results):
        cells = [accuracy_of(arm, study, results, "test", column) for column in TABLE_COLUMNS]
        rows.append([f"**{arm.label}**", *(told(cell) for cell in cells)])
        keys = keys_of(arm, study, results)
        if any("test" in results.runs[key].generated for key in keys):
            cells = [estimate(results.right_generated(keys, "test", column)) for column in TABLE_COLUMNS]
            rows.append([f"{arm.label}, generated", *(told(cell) for cell in cells)])
    questions = results.questions["test"]
    rows.append(["questions", *(f"{questions.member(column).sum():,}" for column in TABLE_COLUMNS)])
    if study.base.dataset == "scienceqa":
        theirs = published_rows()
        rows += [[row["system"], *(str(row[c]) if row[c] is not None else "" for c in TABLE_COLUMNS)]
                 for row in theirs.where(theirs.notna(), None).to_dict(orient="records")]  # fmt: skip
    return markdown(["", *TABLE_COLUMNS], rows)


def classes_table(recipe: Exhibit, study: Study, results: Results) -> str:
    """A row a class of questions: both arms and their difference."""
    a, b = recipe.arms(study)
    rows = []
    for name in results.questions["test"].classes:
        gain = difference_of(a, b, study, results, "test", name)
        if not math.isnan(gain.mean):
            sides = [f"{accuracy_of(arm, study, results, 'test', name).mean:.2f}" for arm in (a, b)]
            rows.append([name, f"{gain.questions:,}", *sides, told(gain, signed=True)])
    found = [markdown(["", "questions", a.label, b.label, "difference"], rows), *controls_tables(a, study, results)]
    return "\n\n".join(found)


def controls_tables(arm: Arm, study: Study, results: Results) -> list[str]:
    """An arm's accuracy on questions with an image under each condition it was asked in; none if in none."""
    keys = [key for key in keys_of(arm, study, results) if results.runs[key].controls]
    if not keys:
        return []
    asked = {name: results.right_with(keys, name).astype(int) for name in CONDITIONS}
    rows = [
        [LABELS[name], told(estimate(right)), told(estimate(right - asked["true"]), signed=True)]
        for name, right in asked.items()
    ]
    rows[0][-1] = ""
    return [f"Does the {arm.label} adapter look? Test IMG:", markdown(["", "accuracy", "minus true image"], rows)]


def sentence(claim: Claim, recipe: Exhibit, study: Study, results: Results) -> str:
    """Whether what was found agrees with what the paper says."""
    arms = recipe.arms(study)
    a, b = arms[claim.better], arms[claim.worse]
    column = claim.column or study.column
    gain = difference_of(a, b, study, results, "test", column)
    if math.isnan(gain.mean):
        return f"- {claim.text} *Not run.*"
    verdict = "Agrees" if gain.low > claim.least else "Disagrees" if gain.high < claim.least else "Cannot be told"
    found = f"{a.label} minus {b.label} on test {column}: {told(gain, signed=True)} points"
    over = f"{gain.seeds} seed{'s' if gain.seeds > 1 else ''}, {gain.questions:,} questions"
    if gain.seeds == 1:
        first, second = _paired(a, b, study, results, "test", column)
        over += f"; McNemar's p = {mcnemar(int((first & ~second).sum()), int((second & ~first).sum())):.2g}"
    return f"- {claim.text} **{verdict}**: {found}; {over}."


def told(value: Estimate, *, signed: bool = False) -> str:
    """The mean and its interval."""
    if math.isnan(value.mean):
        return "\N{EN DASH}"
    form = "+.2f" if signed else ".2f"
    ends = [value.low, value.high] if signed else [max(0.0, value.low), min(100.0, value.high)]
    low, high = (format(end, form).replace("-", MINUS) for end in ends)
    return f"{format(value.mean, form).replace('-', MINUS)} ({low} to {high})"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; its first column is on the left, the others on the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def efficiency_tables(record: dict[str, Any]) -> str:
    """Table 3: what each method tunes on LLaMA-7B, counted, and what it came to on the tiny one, measured.

    Args:
        record: of `eval.efficiency`.
    """
    counted = []
    for method, tuned in record["counted"].items():
        size = 2 if method == "full fine-tuning" else 4
        stored = tuned * size
        megabytes = (
            f"{stored / 1e6:,.1f} MB = {stored / 2**20:,.1f} MiB ({'half' if size == 2 else 'single'} precision)"
        )
        counted.append([method, f"{tuned:,}", megabytes, *record["published"][method]])
    measured = []
    for method in record["counted"]:
        own = [run for run in record["trained"] if run["method"] == method]
        tried, rate = sorted({run["rate"] for run in own}), record["rates"][method]
        runs = [run for run in own if run["rate"] == rate]
        spread = {name: [run[name] for run in runs] for name in ("seconds", "memory", "val_accuracy", "test_accuracy")}
        measured.append(
            [
                method,
                f"{runs[0]['tuned']:,}",
                f"{rate:g} of {', '.join(f'{other:g}' for other in tried)}",
                f"{statistics.median(spread['seconds']):.0f} s",
                f"{statistics.median(spread['memory']) / 2**20:.0f} MiB",
                *(_seeds(spread[name]) for name in ("val_accuracy", "test_accuracy")),
            ]
        )
    head = ["", "tuned", "learning rate", "training", "memory beyond the model", "val Avg", "test, no image"]
    return "\n\n".join(
        [
            "Counted, LLaMA-7B:",
            markdown(["", "tuned parameters", "storage", "paper: tuned", "paper: storage"], counted),
            f"Measured, the embedded tiny LLaMA, {record['settings']['epochs']} epochs, mean and range of "
            f"{len(record['settings']['seeds'])} seeds:",
            markdown(head, measured),
        ]
    )


def _seeds(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def readout_tables(record: dict[str, Any], recipe: Exhibit, study: Study, results: Results) -> str:
    """The arms of a recipe beside the linear read-out of the image features, on the test questions that it answers;
    and where a tower trained further was read out too, both towers on val.

    Args:
        record: of `eval.readout`.
    """
    towers = [(name, {split: _digits(own) for split, own in tower.items()}) for name, tower in record["towers"].items()]
    answered = towers[0][1]["test"]
    asked = answered >= 0
    found = {"linear read-out": answered[None, asked]}
    for arm in recipe.arms(study):
        if keys := keys_of(arm, study, results):
            found[arm.label] = results.right(keys, "test", "Avg")[:, asked].astype(int)
    tables = [_readouts(found, "test")]
    if len(towers) > 1:
        (plain, before), (tuned, after) = [(name, own["val"][None, own["val"] >= 0]) for name, own in towers]
        both = {plain: before, tuned: after}
        tables.append(f"{_readouts(both, 'val')}\n| difference | | {told(estimate(after - before), signed=True)} |")
    return "\n\n".join(tables)


def choices_table(record: dict[str, Any]) -> str:
    """Of `eval.choose`: the settings in which its trainings differ, and their accuracy, with its standard error, on the
    held-out questions."""
    trained = [(found["settings"], found["right"]) for found in record.values()]
    classes = trained[0][1]
    values = {name: [settings.get(name) for settings, _ in trained] for settings, _ in trained for name in settings}
    differ = [name for name, own in values.items() if any(value != own[0] for value in own)]
    rows = [
        [*(_setting(settings.get(name)) for name in differ), *(_share(*right[name]) for name in classes)]
        for settings, right in trained
    ]
    questions = ["questions", *[""] * (len(differ) - 1), *(f"{n:,}" for _, n in classes.values())]
    told_classes = [name.removeprefix(WORDINGS) for name in classes]
    return markdown([*(f"`{name}`" for name in differ), *told_classes], [*rows, questions])


def _setting(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _share(right: int, asked: int) -> str:
    return f"{100 * right / asked:.1f} ± {100 * math.sqrt(right * (asked - right) / asked**3):.1f}"


def _digits(bits: str) -> np.ndarray:
    """Of a read-out: 1 right, 0 wrong, -1 not asked."""
    return np.array([-1 if bit == "-" else int(bit) for bit in bits])


def _readouts(found: dict[str, np.ndarray], split: str) -> str:
    rows = [[name, f"{right.shape[1]:,}", told(estimate(right))] for name, right in found.items()]
    return markdown(["", f"{split} questions", "accuracy"], rows)


TABLES = {"arms": arms_table, "curves": arms_table, "columns": columns_table, "classes": classes_table}
"""By a recipe's kind of figure."""


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "\N{EN DASH}"


def _published() -> dict[str, str]:
    """Avg of the paper's rows, by name: ablations are of the val split."""
    rows = [published_rows(("paper-ablation",), "val"), published_rows()]
    return {row["system"]: str(row["Avg"]) for found in rows for row in found.to_dict(orient="records")}
