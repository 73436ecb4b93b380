"""Accuracy in ScienceQA's question classes, the columns of the paper's Table 2.

Avg | NAT SOC LAN | TXT IMG NO | G1-6 G7-12: by subject, by context (TXT has a hint, IMG an image, NO neither;
TXT and IMG overlap) and by grade.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mmadapter.evaluation.frame import split_systems

TABLE_COLUMNS = ("Avg", "NAT", "SOC", "LAN", "TXT", "IMG", "NO", "G1-6", "G7-12")
"""Columns of a table, in the paper's order."""

SUBJECT_COLUMNS = {"NAT": "natural science", "SOC": "social science", "LAN": "language science"}


def question_classes(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Find the questions in each column.

    Args:
        frame: `subject`, `has_text`, `has_image`, `grade` of the questions.

    Returns:
        A boolean mask a column, <NA> where the question's own field is unknown. NO is unknown where the hint
        is, even beside an image: nothing is computed over an unknown hint.
    """
    subject = frame["subject"].astype("string")
    text = frame["has_text"].astype("boolean")
    image = frame["has_image"].astype("boolean")
    grade = frame["grade"].astype("Int64")
    return {
        "Avg": pd.Series(True, index=frame.index, dtype="boolean"),
        **{name: subject == value for name, value in SUBJECT_COLUMNS.items()},
        "TXT": text,
        "IMG": image,
        "NO": (~text & ~image).mask(text.isna()),
        "G1-6": (grade >= 1) & (grade <= 6),
        "G7-12": (grade >= 7) & (grade <= 12),
    }


def percent(correct: int, n: int) -> float:
    """Percentage in the official script's order of operations, so that every second decimal rounds alike."""
    return correct / n * 100 if n else float("nan")


def two_decimals(value: float) -> float:
    """Round as printed; numpy and pandas multiply first and get some second decimals wrong."""
    return float(f"{value:.2f}")


def accuracy_by_class(frame: pd.DataFrame, classes: Mapping[str, pd.Series] | None = None) -> pd.DataFrame:
    """Compute accuracy in percent by class, with the numbers behind it.

    Args:
        frame: one system's error frame: `correct`, and what `question_classes` needs.
        classes: boolean masks over the frame by name; the paper's columns if left out.

    Returns:
        A row a class. `accuracy`: NaN for a class without questions, and for one whose field is unknown for
        any question. `n`, `correct`: questions known to be in the class, and those answered right. `unknown`:
        questions that may be in it. `known_accuracy`: over the n, NaN if there are none.
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
        kinds: `paper` (Table 2 of the paper), `paper-ablation`, `leaderboard`, `readme`, `result-file`,
            `issue-report`.
        split: the split they were measured on.

    Returns:
        Strings, <NA> where not published: `system`, `tuned_params`, the paper's columns, `source`, `note`.
    """
    from mmadapter.storage.paths import published_file

    rows = pd.read_csv(published_file(), dtype="string")
    rows = rows[rows["kind"].isin(kinds) & (rows["split"] == split)]
    names = {"model": "system", **{name.lower().replace("-", "_"): name for name in TABLE_COLUMNS}}
    rows = rows.rename(columns=names)[["system", "tuned_params", *TABLE_COLUMNS, "source", "note"]]
    return rows.reset_index(drop=True)


def accuracy_table(frames: pd.DataFrame | Mapping[str, pd.DataFrame], *, published: bool = False) -> pd.DataFrame:
    """Build the paper's table, one row a system.

    Args:
        frames: an error frame (of one system or several), or several by name.
        published: put the paper's Table 2 below.

    Returns:
        Indexed by `system`: percent with two decimals, NaN where the tables print a dash, and `source`: where
        a published row stands, <NA> for a row computed here.
    """
    systems = split_systems(frames) if isinstance(frames, pd.DataFrame) else frames
    ours = pd.DataFrame({name: accuracy_by_class(f)["accuracy"].map(two_decimals) for name, f in systems.items()}).T
    ours = ours.rename_axis("system").assign(source=pd.array([None] * len(ours), dtype="string"))
    if not published:
        return ours
    theirs = published_rows().set_index("system").astype(dict.fromkeys(TABLE_COLUMNS, float))
    return pd.concat([ours, theirs[[*TABLE_COLUMNS, "source"]]])
