"""Every way a field can be wrong is named by file, pid and field, and can be skipped and counted."""

import pytest

from mmadapter.errors import UserError
from mmadapter.scienceqa.layout import read_layout
from mmadapter.scienceqa.records import MAX_TEXT

BROKEN = [
    ("question", 7, "must be text, is a number (7)"),
    ("question", None, "must be text, is null"),
    ("question", " ", "is empty"),
    ("question", "x" * (MAX_TEXT + 1), "has 100,001 characters"),
    ("question", "half \ud83d", "is not valid Unicode"),
    ("choices", "water", "must be a list of texts, is text ('water')"),
    ("choices", [], "must be 1 to 5, are 0"),
    ("choices", list("abcdef"), "must be 1 to 5, are 6"),
    ("choices", ["a", None], "choices[1]: must be text, is null"),
    ("choices", ["a", ""], "choices[1]: is empty"),
    ("answer", 3, "is 3, the 3 choices count from 0 to 2"),
    ("answer", -1, "is -1, the 3 choices"),
    ("answer", "B", "must be a whole number, is text ('B')"),
    ("answer", True, "must be a whole number, is true or false (True)"),
    ("answer", 1.0, "must be a whole number, is a number (1.0)"),
    ("answer", None, "must be a whole number, is null"),
    ("hint", ["x"], "must be text, is a list"),
    ("grade", "grade13", "is 'grade13', must be grade1 to grade12"),
    ("grade", 7, "must be text"),
    ("subject", "history", "is 'history', must be one of natural science, social science"),
    ("split", "validation", "is 'validation', must be one of train, val, test"),
    ("image", {"a": 1}, "must be text, is an object"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BROKEN, ids=lambda part: str(part)[:20])
def test_a_wrong_field_stops_and_is_named(field, value, reason, tmp_path, record, write_layout):
    records = {"8": record(), "9": record(**{field: value})}
    folder = write_layout(tmp_path, records, splits={"train": ["8", "9"]})
    with pytest.raises(UserError) as caught:
        read_layout(folder)
    first_line, what_to_do = str(caught.value).split("\n")
    assert first_line.startswith(f"{folder / 'problems.json'}: pid 9: {field}")
    assert reason in first_line
    assert "--on-error skip" in what_to_do


@pytest.mark.parametrize(("field", "value", "reason"), BROKEN, ids=lambda part: str(part)[:20])
def test_a_wrong_field_is_skipped_and_counted(field, value, reason, tmp_path, record, write_layout):
    records = {"8": record(), "9": record(**{field: value}), "10": record(split="test")}
    folder = write_layout(tmp_path, records, splits={"train": ["8", "9"], "test": ["10"], "mini": ["9", "8"]})
    data = read_layout(folder, on_error="skip")
    assert list(data.problems) == ["8", "10"]
    assert data.splits == {"train": ("8",), "test": ("10",), "mini": ("8",)}
    [skipped] = data.skipped
    assert f"pid 9: {field}" in skipped.where
    assert reason in f"{skipped.where}: {skipped.reason}"


def test_every_field_is_required(tmp_path, record, write_layout):
    for field in record():
        incomplete = record()
        del incomplete[field]
        folder = write_layout(tmp_path, {"9": incomplete}, splits={"train": ["9"]})
        with pytest.raises(UserError, match=f"pid 9: {field}: is missing"):
            read_layout(folder)


def test_null_metadata_is_unknown(tmp_path, record, write_layout):
    unknown = dict.fromkeys(["hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"])
    problem = read_layout(write_layout(tmp_path, {"9": record(**unknown)})).problems["9"]
    assert all(getattr(problem, name) is None for name in unknown)
    assert problem.has_text is None
    assert problem.has_image is False


def test_grade_is_its_number(tmp_path, record, write_layout):
    records = {str(n): record(grade=f"grade{n}") for n in range(1, 13)}
    data = read_layout(write_layout(tmp_path, records))
    assert [problem.grade for problem in data] == list(range(1, 13))
