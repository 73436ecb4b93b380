"""Defects of a file are named with the file and the place in it."""

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch

from mmadapter.errors import UserError
from mmadapter.storage.pickles import MAX_SHARED, check_pickle
from mmadapter.storage.untrusted import MAX_BYTES, read_json_object, repeated_keys


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


def folded(levels: int) -> bytes:
    """A pickle of a dict whose key is a pair of one pair twice, and so on."""
    pairs = b"".join(b"h" + bytes([level]) + b"\x86q" + bytes([level + 1]) for level in range(levels))
    return b"\x80\x02}q\xfa)q\x00" + pairs + b"K\x01s."


def with_pickle(file: Path, pickle: bytes) -> Path:
    """A file of `torch.save` with another pickle in it."""
    saved = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, saved)
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(file, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, pickle if name.endswith("/data.pkl") else source.read(name))
    return file


@pytest.mark.parametrize("tensors", ["plain", "tied", "checkpoint", "before 1.6"])
def test_what_torch_saves_may_be_read(tmp_path, tensors):
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([{"params": [layer.weight]}, {"params": [layer.bias]}])
    layer(torch.zeros(3)).sum().backward()
    optimizer.step()
    content = {
        "plain": layer.state_dict(),
        "tied": dict.fromkeys("abc", torch.zeros(2)),
        "checkpoint": {"state_dict": layer.state_dict(), "optimizer": optimizer.state_dict()},
        "before 1.6": layer.state_dict(),
    }[tensors]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=tensors != "before 1.6")
    check_pickle(tmp_path / "a.pth")


@pytest.mark.parametrize("levels", [40, MAX_SHARED + 1])
def test_what_unfolds_to_years_is_not(tmp_path, levels):
    with pytest.raises(UserError, match=rf"a\.pth: uses {levels} things more than once, at most 16"):
        check_pickle(with_pickle(tmp_path / "a.pth", folded(levels)))
    header = io.BytesIO()
    torch.save({}, header, _use_new_zipfile_serialization=False)
    old = tmp_path / "old.pth"
    old.write_bytes(header.getvalue()[: header.getvalue().rindex(b"\x80\x02}")] + folded(levels) + b"\x80\x02].")
    with pytest.raises(UserError, match=r"old\.pth: uses .* things more than once"):
        check_pickle(old)


def test_no_pickle_at_all(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"\x80\x02}")
    with pytest.raises(UserError, match=r"a\.pth: cannot load it: pickle exhausted"):
        check_pickle(tmp_path / "a.pth")
