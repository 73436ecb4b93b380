"""Does the model look at the image, and does it read the options? Answers under other conditions, counted.

`conditions.control_answers` asks; its records are what everything here is computed from. The images: the true one,
a blank one, another question's, none; a model that looks loses by the last three, one that does not loses nothing.
The options: rotated, so that each stands at every place once; a model that reads them gives the same option
wherever it stands, one that does not stays with its letter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mmadapter.config import Scoring
from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import COLUMNS, accuracy_by_class, percent, question_classes
from mmadapter.evaluation.frame import answer_frame
from mmadapter.evaluation.grid import DASH, Grid, p_digits
from mmadapter.evaluation.intervals import accuracy_interval, compare
from mmadapter.evaluation.predictions import LIKELIHOOD, Predictions, read_predictions, read_table
from mmadapter.files import write_text
from mmadapter.processes import is_first
from mmadapter.scienceqa.problems import LETTERS, Dataset

CONDITIONS = ("true", "blank", "shuffled", "none")
"""Of the image, in the order of the table."""
LABELS = dict(zip(CONDITIONS, ("true image", "blank image", "shuffled image", "no image"), strict=True))
ROTATION = "rotation {}"
"""Of the options: as many as there are options, 0 being the question as it stands."""
_RECORD = ("condition", "pid", "prediction", "probabilities")
"""Columns of `conditions.control_answers`."""
LOOK_COLUMNS = ("IMG", *(name for name in COLUMNS if name not in ("Avg", "IMG", "NO")))
"""Of the questions with an image: all, and those of them in the paper's classes."""


@dataclass(frozen=True)
class Controls:
    """One system's answers under all conditions, counted."""

    name: str
    """The system's, as in the table of results."""
    images: pd.DataFrame
    """`look` by the paper's classes; empty without a question with an image."""
    categories: pd.DataFrame
    """`look` by ScienceQA's field `category`."""
    order: pd.DataFrame
    """`option_order`."""


def count_controls(name: str, records: pd.DataFrame, questions: pd.DataFrame) -> Controls:
    """Everything that the controls say about one system.

    Args:
        records: of `conditions.control_answers`.
        questions: `frame.question_frame` of the same questions.
    """
    return Controls(
        name, look(records, questions), look(records, questions, by="category"), option_order(records, questions)
    )


def look(records: pd.DataFrame, questions: pd.DataFrame, *, by: str | None = None) -> pd.DataFrame:
    """Accuracy with the true image, a blank one, another question's and none, and what each of them changes.

    Args:
        records: of `conditions.control_answers`.
        questions: `frame.question_frame` of the same questions.
        by: a column of `questions`, a class being one of its values; left out, `LOOK_COLUMNS`.

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
        return pd.DataFrame(columns=_LOOK)
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
    return pd.DataFrame(rows, columns=_LOOK).astype(dict.fromkeys(("changed", "only_this", "only_true"), "Int64"))


_LOOK = [
    *("question_class", "condition", "n", "correct", "accuracy", "low", "high", "changed", "only_this", "only_true"),
    *("difference", "difference_low", "difference_high", "p", "p_holm"),
]


def option_order(records: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """What is left of a system's answers when the options stand in every rotation of their order.

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
    return pd.DataFrame.from_dict(rows, orient="index").reindex(COLUMNS)


def controls_of(
    system: Predictions, questions: pd.DataFrame, data: Dataset, *, ask: bool = True, quiet: bool = False
) -> Controls | None:
    """The controls of a run's variant; where its answers under the conditions are not stored, its model is asked.

    Beside `predictions*.parquet` stand `controls*.parquet`, the records, and `controls*.json`, what they count up to.

    Args:
        system: predictions stored in a variant's folder; for those of anybody else there is no model to ask.
        questions, data: what they answer, as a frame and as the problems.
        ask: whether the model may be asked; False takes what is stored.

    Returns:
        None if the system is no variant of a run, or nothing is stored and its model may not be asked.

    Raises:
        UserError: the model cannot be loaded, or cannot be asked.
    """
    predictions = Path(system.source)
    folder = predictions.parent
    if not (folder / "adapter_config.json").is_file() or not predictions.name.startswith("predictions"):
        return None
    answers = read_predictions(predictions, questions).frame  # by the run's own rule, whatever the table's
    scoring: Scoring = "likelihood" if system.rule == LIKELIHOOD else "generate"
    file = controls_file(predictions)
    records = stored_controls(file, answers)
    summary = file.with_suffix(".json")
    if records is None and not ask:
        return None
    if records is None:
        from mmadapter.evaluation.rerun import store_controls  # torch takes seconds

        summary.unlink(missing_ok=True)
        records = store_controls(file, data, answers, scoring=scoring, quiet=quiet)
    controls = count_controls(system.name, records, questions)
    if is_first() and not summary.is_file():
        about = {"questions": len(questions), "scoring": scoring}
        write_text(summary, json.dumps(about | controls_record(controls), indent=1) + "\n")
    return controls


def controls_file(predictions: Path) -> Path:
    """Beside a file of stored predictions: the same model's answers under other conditions."""
    return predictions.with_name(predictions.name.replace("predictions", "controls", 1))


def stored_controls(path: Path, answers: pd.DataFrame) -> pd.DataFrame | None:
    """The records in a file, if they are of these answers; None if there are none or the answers are others by now.

    Raises:
        UserError: it holds anything else than one answer a condition to some of the questions.
    """
    if not path.is_file():
        return None
    records = read_table(path, _RECORD)
    if missing := [column for column in _RECORD if column not in records]:
        raise UserError(f"{path}: no column {', '.join(missing)}: delete it, and --controls asks again")
    known = [*CONDITIONS, *(ROTATION.format(turn) for turn in range(len(LETTERS)))]
    answer = ["condition", "pid"]
    if (
        not records["condition"].isin(known).all()
        or not records["pid"].isin(set(answers["pid"])).all()
        or not (records["prediction"].isna() | records["prediction"].isin(range(len(LETTERS)))).all()
        or records.duplicated(answer).any()
    ):
        raise UserError(f"{path}: not one answer a condition to these questions: delete it, and --controls asks again")
    records = records.astype({"condition": "string", "pid": "string", "prediction": "Int64"})
    asked = records[records["condition"] == ROTATION.format(0)].set_index("pid")["prediction"].astype("Int64")
    return records if asked.equals(answers.set_index("pid")["prediction"].astype("Int64")) else None


def controls_record(controls: Controls) -> dict[str, object]:
    """For JSON: null where there is no number."""

    def rows(frame: pd.DataFrame) -> list[dict]:
        return json.loads(frame.to_json(orient="records"))

    return {
        "name": controls.name,
        "images": rows(controls.images),
        "categories": rows(controls.categories),
        "order": rows(controls.order.rename_axis("question_class").reset_index()),
    }


def controls_grids(controls: Controls) -> list[Grid]:
    """The two tables of one system."""
    grids = [_order_grid(controls)]
    return [_look_grid(controls), *grids] if len(controls.images) else grids


def _look_grid(controls: Controls) -> Grid:
    found = controls.images.set_index(["condition", "question_class"])

    def cells(condition: str, key: str, form: str) -> list[str]:
        values = found.loc[condition][key].reindex(LOOK_COLUMNS)
        return [DASH if pd.isna(value) else format(value, form) for value in values]

    rows, faint = [("questions", *cells("true", "n", ".0f"), "")], {0}
    for condition, label in LABELS.items():
        if condition == "true":
            rows.append((label, *cells(condition, "accuracy", ".2f"), ""))
            continue
        tested = found.loc[condition].reindex(LOOK_COLUMNS)
        p = tested["p_holm"].where(tested.index != "IMG", tested["p"])
        faint |= {len(rows) + 1, len(rows) + 2}
        rows += [
            (label, *cells(condition, "accuracy", ".2f"), str(tested.loc["IMG", "changed"])),
            ("  minus true", *cells(condition, "difference", "+.2f"), ""),
            ("  p", *(p_digits(value) for value in p), ""),
        ]
    return Grid(
        title=f"{controls.name}: does it look? Accuracy in percent on questions with an image",
        headers=("", *LOOK_COLUMNS, "changed"),
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
        headers=("", *COLUMNS),
        rows=tuple(rows),
        faint=frozenset({0}),
        breaks=frozenset({0, 3}),
        notes=(
            "same option, same letter: in another order, how often the option, or the place, chosen as asked is kept",
        ),
    )
