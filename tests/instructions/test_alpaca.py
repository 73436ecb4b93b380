"""Alpaca's format: read whole, or refused with the file, the record's number and the field."""

import json

import pytest

from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.instructions.alpaca import FILE, VALIDATING, read_alpaca


def records(count: int = 20) -> list[dict]:
    return [
        {"instruction": f"Say {n}.", "input": "loud" if n % 2 else "", "output": f"{n}!\n  {n}"} for n in range(count)
    ]


def written(folder, content):
    file = folder / FILE
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_records_become_problems_with_one_option(tmp_path):
    file = written(tmp_path, records())
    data = load_dataset("alpaca", file)
    assert data.splits == {"train": tuple(str(n) for n in range(3, 21)), "val": ("1", "2")}
    second = data.problems["2"]
    assert (second.question, second.hint, second.choices, second.answer) == ("Say 1.", "loud", ("1!\n  1",), 0)
    assert data.problems["1"].hint == ""
    assert load_dataset("alpaca", [tmp_path]).problems == data.problems


def test_two_hundred_validate_of_many(tmp_path):
    assert len(read_alpaca(written(tmp_path, records(2010))).splits["val"]) == VALIDATING


def test_an_input_may_be_left_out(tmp_path):
    kept = [{name: value for name, value in record.items() if name != "input"} for record in records()]
    assert {problem.hint for problem in read_alpaca(written(tmp_path, kept))} == {""}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": ""}, "record 4: output: is empty"),
        ({"instruction": "  "}, "record 4: instruction: is empty"),
        ({"instruction": 7}, r"record 4: instruction: must be text, is a number \(7\)"),
        ({"input": None}, "record 4: input: must be text, is null"),
        ({"output": "x" * 100_001}, "record 4: output: has 100,001 characters"),
        ({"output": "\ud800"}, "record 4: output: is not valid Unicode"),
    ],
)
def test_a_broken_record_is_named_or_counted(tmp_path, change, message):
    content = records()
    content[3] |= change
    file = written(tmp_path, content)
    with pytest.raises(UserError, match=message):
        read_alpaca(file)
    data = read_alpaca(file, on_error="skip")
    assert len(data) == 19
    assert "4" not in data.problems
    where = f"{file}: {message.split(': ')[0]}: {next(iter(change))}"
    assert [(skipped.where, skipped.pid, skipped.splits) for skipped in data.skipped] == [(where, "4", ("train",))]
    assert (len(data["train"].skipped), len(data["val"].skipped)) == (1, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "must hold a list"),
        ("[", "line 1, column 2: not valid JSON"),
        (records(9), "has 9 records; 10 are the fewest"),
        ([1] * 10, "record 1: must be an object"),
        (
            '[{"instruction": "a", "instruction": "b", "output": "c"}' + ", 1" * 9 + "]",
            "record 1: instruction: occurs more",
        ),
    ],
)
def test_what_is_no_such_list_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_alpaca(written(tmp_path, content))


def test_nothing_left_after_skipping_is_told(tmp_path):
    with pytest.raises(UserError, match="no record is left to train on, or none to validate"):
        read_alpaca(written(tmp_path, [1, *records(12)]), on_error="skip")  # the first one validates


@pytest.mark.parametrize("places", [None, [], ["a", "b"]])
def test_alpaca_is_one_file(places):
    with pytest.raises(UserError, match="alpaca is one JSON file: name it"):
        load_dataset("alpaca", places)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match=f"{FILE}: cannot be read: No such file"):
        read_alpaca(tmp_path)
