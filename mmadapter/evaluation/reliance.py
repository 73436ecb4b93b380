"""Does the model look at the image, and does it read the options? Its answers under other conditions, counted.

The image is the true one, a blank one, another question's, that of another question of the same words, or none; a
model that looks loses by the last four. The options are rotated, so that each stands at every place once; a model that
reads them keeps its option, one that does not keeps its letter. In all functions `records` are the answers that
`controls.asking.control_answers` returns, and `questions` is the `frame.question_frame` of the same questions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pandas as pd

from mmadapter.evaluation.accuracy import (
    TABLE_COLUMNS,
    accuracy_by_class,
    digits,
    percent,
    question_classes,
    value_classes,
)
from mmadapter.evaluation.estimates import accuracy_intervals
from mmadapter.evaluation.frame import answered
from mmadapter.evaluation.grid import DASH, Grid, p_digits
from mmadapter.evaluation.verdicts import compare_frames
from mmadapter.evaluation.wordings import cluster_ids

LABELS = {
    "true": "true image",
    "blank": "blank image (*)",
    "shuffled": "another question's",
    "within": "same words, other image",
    "none": "no image",
}
CONDITIONS = tuple(LABELS)
"""Conditions of the image, in the order of the table. `within` is asked only of questions whose wording has a second
picture; runs from before 2026-11-27 lack it."""
UNLIKE_TRAINING = "(*) training shows no blank picture: the answers may be wrong for that reason alone"
ROTATION = "rotation {}"
"""Conditions of the options: as many as there are options, 0 being the original order."""
CONTROL_COLUMNS = ("condition", "pid", "prediction", "probabilities")
"""Columns of `control_answers`."""
RELIANCE_COLUMNS = ("IMG", *(name for name in TABLE_COLUMNS if name not in ("Avg", "IMG", "NO")))
"""Classes of the questions with an image: all of them, and those in each of the paper's classes."""
_COUNTED = [
    *("question_class", "condition", "n", "correct", "accuracy", "low", "high", "changed", "only_this", "only_true"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
]


@dataclass(frozen=True)
class Controls:
    """One system's answers under all conditions, counted."""

    name: str
    """The system's name in the table of results."""
    images: pd.DataFrame
    """`image_reliance` by the paper's classes; empty without questions with an image."""
    categories: pd.DataFrame
    """`image_reliance` by ScienceQA's field `category`."""
    order: pd.DataFrame
    """`option_order`."""


def count_controls(name: str, records: pd.DataFrame, questions: pd.DataFrame) -> Controls:
    """Count one system's answers under all conditions."""
    images, categories = image_reliance(records, questions), image_reliance(records, questions, by="category")
    return Controls(name, images, categories, option_order(records, questions))


def image_reliance(records: pd.DataFrame, questions: pd.DataFrame, *, by: str | None = None) -> pd.DataFrame:
    """Return the accuracy under each condition of the image, and what changes from the true image.

    Args:
        by: a column of `questions`, with a class for each of its values; `RELIANCE_COLUMNS` by default.

    Returns:
        A row for each condition and class, over the questions with an image that were asked under the condition:
        `question_class`, `condition`, `n`, `correct`, `accuracy`, `low`, `high` (in percent). Compared with the true
        image, and NaN for it: `changed`, the number of other answers; `only_this` and `only_true`, questions right
        under only one of the two; `difference` in points with `difference_low` and `difference_high`, `p` and `p_holm`,
        all of `verdicts.compare_frames`, over wordings. Classes without questions or with a dash in the table are left
        out; by a column, so are the questions whose value is unknown.
    """
    answers = {name: records[records["condition"] == name] for name in CONDITIONS}
    if answers["true"].empty:
        return pd.DataFrame(columns=_COUNTED)
    asked = questions.loc[questions.index.isin(answers["true"]["pid"])]
    frames = {
        name: answered(asked.loc[asked.index.isin(given["pid"])], given, name)
        for name, given in answers.items()
        if len(given)
    }
    if by is None:
        classes = {name: mask for name, mask in question_classes(asked).items() if name not in ("IMG", "NO")}
    else:
        classes = value_classes(asked[by].astype("string"))
    clusters = cluster_ids(asked)
    tables = []
    for condition, frame in frames.items():
        own = {name: mask.loc[frame.index] for name, mask in classes.items()}
        sure = accuracy_intervals(frame["correct"].astype(float), clusters, own)[["low", "high"]]
        table = accuracy_by_class(frame, own).join(sure)
        table = table[(table["n"] > 0) & (table["unknown"] == 0)].assign(condition=condition)
        if condition != "true":
            true = frames["true"].loc[frame.index]
            tests = compare_frames(frame, true, clusters, own)
            names = {"only_a": "only_this", "only_b": "only_true", "low": "difference_low", "high": "difference_high"}
            table = table.join(tests[[*names, "difference", "p", "p_holm"]].rename(columns=names))
            other = frame["prediction"].fillna(-1) != true["prediction"].fillna(-1)
            table["changed"] = [int((own[name] & other).sum()) for name in table.index]
        tables.append(table)
    counted = pd.concat(tables).rename(index={"Avg": "IMG"}).rename_axis("question_class").reset_index()
    return counted[_COUNTED].astype(dict.fromkeys(("changed", "only_this", "only_true"), "Int64"))


def option_order(records: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Return how a system's answers hold when the options stand in every rotation of their order.

    Returns:
        Indexed by the paper's columns; shares in percent, NaN without questions or if a class is unknown for any.
        `n` questions; `as_asked`: accuracy in the original order; `mean`: over all orders, in which a preference
        for a letter gains nothing; `always`: right in all of them. `turned` counts the answers in another order;
        `same_option` and `same_letter` are the shares of them that kept the original option or its place.
    """
    turns = records[records["condition"].str.startswith(ROTATION.format(""))]
    turns = turns.assign(turn=turns["condition"].str.removeprefix(ROTATION.format("")).astype(int))
    chosen = turns.pivot(index="pid", columns="turn", values="prediction").loc[questions.index]
    n_choices = questions["n_choices"].astype(int)
    right = chosen.eq(questions["answer"], axis=0).fillna(False).astype(bool)
    times_right = right.sum(axis=1)
    turned = chosen.drop(columns=0)
    places = turned.sub(turned.columns, axis="columns").mod(n_choices, axis="index")  # in the original order
    same_option, same_letter = (
        answers.eq(chosen[0], axis="index").fillna(False).sum(axis=1) for answers in (turned, places)
    )
    rows = {}
    for name, mask in question_classes(questions).items():
        if mask.isna().any():
            continue
        member = mask.astype(bool)
        n, others = int(member.sum()), int((n_choices - 1)[member].sum())
        rows[name] = {
            "n": n,
            "as_asked": percent(int(right.loc[member, 0].sum()), n),
            "mean": float((times_right / n_choices)[member].mean() * 100),
            "always": percent(int((times_right == n_choices)[member].sum()), n),
            "turned": others,
            "same_option": percent(int(same_option[member].sum()), others),
            "same_letter": percent(int(same_letter[member].sum()), others),
        }
    return pd.DataFrame.from_dict(rows, orient="index").reindex(TABLE_COLUMNS)


def controls_record(controls: Controls) -> dict[str, object]:
    """Return the counts for JSON; null if there is no number."""
    frames = {
        "images": controls.images,
        "categories": controls.categories,
        "order": controls.order.rename_axis("question_class").reset_index(),
    }
    return {"name": controls.name} | {key: json.loads(frame.to_json(orient="records")) for key, frame in frames.items()}


def controls_grids(controls: Controls) -> list[Grid]:
    """Return one system's tables: the image's, if any question has one, and the options'."""
    return ([_image_grid(controls)] if len(controls.images) else []) + [_order_grid(controls)]


def _image_grid(controls: Controls) -> Grid:
    rows, faint = [], {0}
    for condition, label in LABELS.items():
        found = controls.images[controls.images["condition"] == condition]
        if found.empty:
            continue
        found = found.set_index("question_class").reindex(RELIANCE_COLUMNS)
        accuracies = [digits(x) or DASH for x in found["accuracy"]]
        if condition == "true":
            rows.append(("questions", *(digits(x, ".0f") or DASH for x in found["n"]), ""))
            rows.append((label, *accuracies, ""))
            continue
        p = found["p_holm"].where(found.index != "IMG", found["p"])
        rows.append((label, *accuracies, str(found.loc["IMG", "changed"])))
        if condition == "within":
            faint.add(len(rows))
            rows.append(("  questions", *(digits(x, ".0f") or DASH for x in found["n"]), ""))
        faint |= {len(rows), len(rows) + 1}
        rows += [
            ("  minus true", *(digits(x, "+.2f") or DASH for x in found["difference"]), ""),
            ("  p", *map(p_digits, p), ""),
        ]
    return Grid(
        title=f"{controls.name}: does it look? Accuracy in percent on questions with an image",
        headers=("", *RELIANCE_COLUMNS, "changed"),
        rows=tuple(rows),
        faint=frozenset(faint),
        breaks=frozenset({0}),
        notes=(
            "changed: answers that differ from those with the true image, over the same questions",
            UNLIKE_TRAINING,
            "p: t test over wordings against the true image; Holm's correction over all columns but IMG",
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
    return Grid(
        title=f"{controls.name}: the options in all rotations of their order, in percent",
        headers=("", *TABLE_COLUMNS),
        rows=tuple(
            (label, *(digits(x, ".0f" if key == "n" else ".2f") or DASH for x in controls.order[key]))
            for key, label in labels.items()
        ),
        faint=frozenset({0}),
        breaks=frozenset({0, 3}),
        notes=("same option, same letter: how often an answer in another order keeps the option, or the place",),
    )
