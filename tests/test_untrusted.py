"""Defects of a file are named with the file and the place in it."""

import os

import pytest

from mmadapter.errors import UserError
from mmadapter.untrusted import MAX_BYTES, read_json_object, repeated_keys


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"1": {}\n "2": {}}', "line 2, column 2: not valid JSON"),
        (b'{"1":\n "caf\xe9"}', "line 2: byte 11 is not UTF-8"),
        (b"", "line 1, column 1: not valid JSON"),
        (b'["1"]', "must hold one JSON object"),
        (b'{"1": ' + b"[" * 200_000, "not valid JSON"),
        (b'{"1": ' + b"9" * 10_000 + b"}", "not valid JSON"),
    ],
    ids=["syntax", "encoding", "empty", "list", "nesting", "digits"],
)
def test_defects(content, message, tmp_path):
    file = tmp_path / "problems.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_json_object(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match=r"problems\.json: cannot be read: No such file"):
        read_json_object(tmp_path / "problems.json")


def test_an_absurd_size_is_refused_unread(tmp_path):
    file = tmp_path / "problems.json"
    file.touch()
    os.truncate(file, MAX_BYTES + 1)  # sparse: takes no space
    with pytest.raises(UserError, match="134,217,729 bytes, at most"):
        read_json_object(file)


def test_repeated_keys_are_found_at_every_depth(tmp_path):
    file = tmp_path / "problems.json"
    file.write_text('\ufeff{"1": {"a": 1, "a": 2}, "2": {"a": 1}, "3": 3, "3": 4}', encoding="utf-8")
    parsed = read_json_object(file)
    assert repeated_keys(parsed) == ["3"]
    assert repeated_keys(parsed["1"]) == ["a"]
    assert repeated_keys(parsed["2"]) == []
