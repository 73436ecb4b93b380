"""Count whether a model looks at the image and reads the options, from its answers under other conditions.

`conditions.control_answers` asks; its records are what everything here is computed from. The images: the true one,
a blank one, another question's, none; a model that looks loses by the last three, one that does not loses nothing.
The options: rotated, so that each stands at every place once; a model that reads them gives the same option
wherever it stands, one that does not stays with its letter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class, percent, question_classes
from mmadapter.evaluation.frame import answer_frame
from mmadapter.evaluation.grid import DASH, Grid, p_digits
from mmadapter.evaluation.statistics import accuracy_interval, compare

CONDITIONS = ("true", "blank", "shuffled", "none")
"""Conditions of the image, in the table's order."""
LABELS = dict(zip(CONDITIONS, ("true image", "blank image", "shuffled image", "no image"), strict=True))
ROTATION = "rotation {}"
"""Condition of the options; rotation 0 is the original order."""
CONTROL_COLUMNS = ("condition", "pid", "prediction", "probabilities")
"""Columns of the records."""
RELIANCE_COLUMNS = ("IMG", *(name for name in TABLE_COLUMNS if name not in ("Avg", "IMG", "NO")))
"""Classes of questions with an image: all of them, and those in each of the paper's classes."""


@dataclass(frozen=True)
class Controls:
    """One system's results under all conditions."""

    name: str
    """The system's name in the table of results."""
    images: pd.DataFrame
    """`image_reliance` by the paper's classes; empty without a question with an image."""
    categories: pd.DataFrame
    """`image_reliance` by ScienceQA's field `category`."""
    order: pd.DataFrame
    """`option_order`."""


def count_controls(name: str, records: pd.DataFrame, questions: pd.DataFrame) -> Controls:
    """Count everything that the controls show about one system.

    Args:
        records: of `conditions.control_answers`.
        questions: `frame.question_frame` of the same questions.
    """
    return Controls(
        name,
        image_reliance(records, questions),
        image_reliance(records, questions, by="category"),
        option_order(records, questions),
    )


def image_reliance(records: pd.DataFrame, questions: pd.DataFrame, *, by: str | None = None) -> pd.DataFrame:
    """Compute accuracy with the true image, a blank one, another question's and none, and what each changes.

    Args:
        records: of `conditions.control_answers`.
        questions: `frame.question_frame` of the same questions.
        by: a column of `questions`, a class being one of its values; left out, `RELIANCE_COLUMNS`.

    Returns:
        A row a class and condition, over the questions with an image in that class; left out are classes without one
        and those in which the table has a dash, and by a column the questions where it is unknown.
        `question_class`, `condition`, `n`, `correct`, `accuracy`, `low`, `high` (in percent), and beside the true
        image: `changed`, other answers than with it; `only_this` and `only_true`, questions that are right only under
        one of both; `difference` in points with its interval (`difference_low`, `difference_high`), `p` and `p_holm`
        of `intervals.compare`, NaN for the true image itself.
    """
    answers = {name: records[records["condition"] == name] for name in CONDITIONS}
    if answers["true"].empty:
        return pd.DataFrame(columns=_RELIANCE)
    asked = questions.loc[questions.index.isin(answers["true"]["pid"])]
    frames = {name: asked.join(answer_frame(given, asked, name)) for name, given in answers.items()}
    classes: Mapping[str, pd.Series]
    if by is None:
        classes = {name: mask for name, mask in question_classes(asked).items() if name not in ("IMG", "NO")}
    else:
        known = asked[by].astype("string")
        classes = {value: (known == value).fillna(False) for value in sorted(known.dropna().unique())}
    true = frames["true"]["prediction"].fillna(-1)
    rows = []
    for condition, frame in frames.items():
        scores = accuracy_by_class(frame, classes)
        scores = scores[(scores["n"] > 0) & (scores["unknown"] == 0)]
        tests = None if condition == "true" else compare(frame, frames["true"], by=classes)
        other = frame["prediction"].fillna(-1) != true
        for name, score in scores.iterrows():
            low, high = accuracy_interval(int(score["correct"]), int(score["n"]))
            row = {
                "question_class": "IMG" if name == "Avg" else name,
                "condition": condition,
                **{key: int(score[key]) for key in ("n", "correct")},
                **{"accuracy": score["accuracy"], "low": low, "high": high},
            }
            if tests is not None:
                test = tests.loc[name]
                row |= {
                    "changed": int((classes[name].fillna(False) & other).sum()),
                    "only_this": int(test["only_a"]),
                    "only_true": int(test["only_b"]),
                    **{key: test[key] for key in ("difference", "p", "p_holm")},
                    "difference_low": test["low"],
                    "difference_high": test["high"],
                }
            rows.append(row)
    return pd.DataFrame(rows, columns=_RELIANCE).astype(dict.fromkeys(("changed", "only_this", "only_true"), "Int64"))


_RELIANCE = [
    *("question_class", "condition", "n", "correct", "accuracy", "low", "high", "changed", "only_this", "only_true"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
]


def option_order(records: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Measure how a system's answers hold when the options stand in every rotation of their order.

    Args:
        records: of `conditions.control_answers`.
        questions: `frame.question_frame` of the same questions.

    Returns:
        Indexed by the paper's columns; shares in percent, NaN where there is nothing or a class is unknown for any
        question. `n` questions; `as_asked`: accuracy in the original order; `mean`: over all orders, in which no
        preference for a letter is worth anything; `always`: right in all of them. Of the `turned` askings in
        another order: `same_option`, the answer was the option chosen originally, and `same_letter`, it stood at
        the place chosen originally.
    """
    turns = records[records["condition"].str.startswith(ROTATION.format(""))]
    turns = turns.assign(turn=turns["condition"].str.removeprefix(ROTATION.format("")).astype(int))
    chosen = turns.pivot(index="pid", columns="turn", values="prediction").loc[questions.index]
    n_choices = questions["n_choices"].astype(int)
    right = chosen.eq(questions["answer"], axis=0).fillna(False).astype(bool)
    first = chosen[0]
    same_option, same_letter = pd.DataFrame(index=chosen.index), pd.DataFrame(index=chosen.index)
    for turn in chosen.columns[1:]:
        same_option[turn] = (chosen[turn] == first).fillna(False)
        same_letter[turn] = ((chosen[turn] - turn) % n_choices == first).fillna(False)
    turned = n_choices - 1
    rows = {}
    for name, mask in question_classes(questions).items():
        if mask.isna().any():
            continue
        at = mask.astype(bool)
        n, others = int(at.sum()), int(turned[at].sum())
        rows[name] = {
            "n": n,
            "as_asked": percent(int(right.loc[at, 0].sum()), n),
            "mean": float((right.sum(axis=1) / n_choices)[at].mean() * 100),
            "always": percent(int((right.sum(axis=1) == n_choices)[at].sum()), n),
            "turned": others,
            "same_option": percent(int(same_option[at].to_numpy().sum()), others),
            "same_letter": percent(int(same_letter[at].to_numpy().sum()), others),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reindex(TABLE_COLUMNS)


def controls_record(controls: Controls) -> dict[str, object]:
    """The controls for JSON, null where there is no number."""

    def rows(frame: pd.DataFrame) -> list[dict]:
        return json.loads(frame.to_json(orient="records"))

    return {
        "name": controls.name,
        "images": rows(controls.images),
        "categories": rows(controls.categories),
        "order": rows(controls.order.rename_axis("question_class").reset_index()),
    }


def controls_grids(controls: Controls) -> list[Grid]:
    """Build the two tables of one system."""
    grids = [_order_grid(controls)]
    return [_reliance_grid(controls), *grids] if len(controls.images) else grids


def _reliance_grid(controls: Controls) -> Grid:
    found = controls.images.set_index(["condition", "question_class"])

    def cells(condition: str, key: str, form: str) -> list[str]:
        values = found.loc[condition][key].reindex(RELIANCE_COLUMNS)
        return [DASH if pd.isna(value) else format(value, form) for value in values]

    rows, faint = [("questions", *cells("true", "n", ".0f"), "")], {0}
    for condition, label in LABELS.items():
        if condition == "true":
            rows.append((label, *cells(condition, "accuracy", ".2f"), ""))
            continue
        tested = found.loc[condition].reindex(RELIANCE_COLUMNS)
        p = tested["p_holm"].where(tested.index != "IMG", tested["p"])
        faint |= {len(rows) + 1, len(rows) + 2}
        rows += [
            (label, *cells(condition, "accuracy", ".2f"), str(tested.loc["IMG", "changed"])),
            ("  minus true", *cells(condition, "difference", "+.2f"), ""),
            ("  p", *(p_digits(value) for value in p), ""),
        ]
    return Grid(
        title=f"{controls.name}: does it look? Accuracy in percent on questions with an image",
        headers=("", *RELIANCE_COLUMNS, "changed"),
        rows=tuple(rows),
        faint=frozenset(faint),
        breaks=frozenset({0}),
        notes=(
            "changed: answers that are not those with the true image",
            "p: McNemar's test against the true image, exact; Holm's correction over all columns but IMG",
        ),
    )


def _order_grid(controls: Controls) -> Grid:
    labels = {
        "n": "questions",
        "as_asked": "as asked",
        "mean": "mean of orders",
        "always": "right in all",
        "same_option": "same option",
        "same_letter": "same letter",
    }
    rows = []
    for key, label in labels.items():
        form = ".0f" if key == "n" else ".2f"
        values = (DASH if pd.isna(x) else format(x, form) for x in controls.order[key])
        rows.append((label, *values))
    return Grid(
        title=f"{controls.name}: the options in all rotations of their order, in percent",
        headers=("", *TABLE_COLUMNS),
        rows=tuple(rows),
        faint=frozenset({0}),
        breaks=frozenset({0, 3}),
        notes=(
            "same option, same letter: in another order, how often the option, or the place, chosen as asked is kept",
        ),
    )
