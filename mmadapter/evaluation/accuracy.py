"""Accuracy by ScienceQA's question classes, the columns of the paper's Table 2.

Avg | NAT SOC LAN | TXT IMG NO | G1-6 G7-12: by subject, by context and by grade. TXT has a hint, IMG an image,
NO neither; TXT and IMG overlap.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mmadapter.evaluation.frame import split_systems
from mmadapter.storage.paths import published_file

TABLE_COLUMNS = ("Avg", "NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")
"""In the paper's order."""

SUBJECT_COLUMNS = {"NAT": "natural science", "SOC": "social science", "LAN": "language science"}


def question_classes(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Return which questions belong to each column, as boolean masks; <NA> where the field is unknown.

    A question with an unknown hint has an unknown NO, even if it has an image.
    """
    text, image = frame["has_text"].astype("boolean"), frame["has_image"].astype("boolean")
    subject, grade = frame["subject"].astype("string"), frame["grade"].astype("Int64")
    return {
        "Avg": pd.Series(True, index=frame.index, dtype="boolean"),
        **{name: subject == value for name, value in SUBJECT_COLUMNS.items()},
        "TXT": text,
        "IMG": image,
        "NO": (~text & ~image).mask(text.isna()),
        "G1-6": (grade >= 1) & (grade <= 6),
        "G7-12": (grade >= 7) & (grade <= 12),
    }


def value_classes(values: pd.Series) -> dict[str, pd.Series]:
    """Return which questions have each value of a column, as masks; the unknown belongs to none."""
    return {str(value): (values == value).fillna(False) for value in sorted(values.dropna().unique())}


def percent(correct: int, n: int) -> float:
    """Return the share in percent, computed in the official script's order so that every second decimal agrees."""
    return correct / n * 100 if n else float("nan")


def two_decimals(value: float) -> float:
    """Round as printing does; numpy and pandas multiply first and get some second decimals wrong."""
    return float(f"{value:.2f}")


def digits(value: int | float | None, form: str = ".2f") -> str | None:
    """Format a number as tables print it; None if there is none."""
    return None if pd.isna(value) else format(value, form)


def accuracy_by_class(frame: pd.DataFrame, classes: Mapping[str, pd.Series] | None = None) -> pd.DataFrame:
    """Return the accuracy in each class in percent, with its counts.

    Args:
        frame: one system's error frame: `correct`, and the columns that `question_classes` needs.
        classes: boolean masks over the frame by name; the paper's columns by default.

    Returns:
        A row for each class. `n` and `correct` count the questions known to be in the class, `unknown` those that
        may be. `known_accuracy` is over the n, NaN if there are none. `accuracy` equals it, but is NaN where
        `unknown` is not 0.
    """
    right = frame["correct"].astype(bool)
    rows = {}
    for name, mask in (question_classes(frame) if classes is None else classes).items():
        unknown = int(mask.isna().sum())
        member = mask.fillna(False).astype(bool)
        n, correct = int(member.sum()), int((member & right).sum())
        known = percent(correct, n)
        rows[name] = (float("nan") if unknown else known, n, correct, unknown, known)
    columns = ["accuracy", "n", "correct", "unknown", "known_accuracy"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def published_rows(kinds: tuple[str, ...] = ("paper",), split: str = "test") -> pd.DataFrame:
    """Read published results on ScienceQA, digit for digit.

    Args:
        kinds: `paper` (the paper's Table 2), `paper-ablation`, `leaderboard`, `readme`, `result-file`,
            `issue-report`.
        split: the split they were measured on.

    Returns:
        Strings, <NA> where not published: `system`, `tuned_params`, the paper's columns, `source`, `note`.
    """
    rows = pd.read_csv(published_file(), dtype="string")
    rows = rows[rows["kind"].isin(kinds) & (rows["split"] == split)]
    names = {"model": "system", **{name.lower().replace("-", "_"): name for name in TABLE_COLUMNS}}
    rows = rows.rename(columns=names)[["system", "tuned_params", *TABLE_COLUMNS, "source", "note"]]
    return rows.reset_index(drop=True)


def accuracy_table(frames: pd.DataFrame | Mapping[str, pd.DataFrame], *, published: bool = False) -> pd.DataFrame:
    """Return the paper's table, one row for each system.

    Args:
        frames: an error frame of one system or several, or several frames by name.
        published: append the paper's Table 2.

    Returns:
        Indexed by `system`: percent with two decimals, NaN where the tables print a dash, and `source`, the
        publication of a row or <NA> if it was computed here.
    """
    systems = split_systems(frames) if isinstance(frames, pd.DataFrame) else frames
    ours = pd.DataFrame({name: accuracy_by_class(f)["accuracy"].map(two_decimals) for name, f in systems.items()}).T
    ours = ours.rename_axis("system").assign(source=pd.array([None] * len(ours), dtype="string"))
    if not published:
        return ours
    theirs = published_rows().set_index("system").astype(dict.fromkeys(TABLE_COLUMNS, float))
    return pd.concat([ours, theirs[[*TABLE_COLUMNS, "source"]]])
