"""Tensor files: what was written comes back to the bit, and nothing else does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmadapter.storage.tensors import Damaged, load_tensors, save_tensors

TENSORS = {
    "a": torch.randn(3, 5, generator=torch.Generator().manual_seed(0)),
    "step": torch.tensor(7.0),
    "half": torch.arange(4).to(torch.bfloat16),
    "keys": torch.arange(64, dtype=torch.uint8).view(2, 32),
    "none": torch.empty(0, 5),
}


def test_what_was_written_comes_back(tmp_path):
    save_tensors(tmp_path / "t", TENSORS, {"x": "y"})
    tensors, about = load_tensors(tmp_path / "t")
    assert about == {"x": "y"}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert all(tensors[name].dtype == tensor.dtype for name, tensor in TENSORS.items())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    file = tmp_path_factory.mktemp("tensors") / "t"
    save_tensors(file, TENSORS, {"x": "y"})
    return file, file.read_bytes()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_is_loaded(saved, data):
    """Any byte changed, or the file cut anywhere: refused, or (a changed blank of the header) read as it was."""
    file, whole = saved
    at = data.draw(st.integers(0, len(whole) - 1))
    bad = file.with_name("bad")
    if data.draw(st.booleans()):
        bad.write_bytes(whole[:at])
    else:
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
    try:
        tensors, about = load_tensors(bad)
    except Damaged:
        return
    assert about == {"x": "y"}
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


def test_a_file_of_somebody_else_has_no_checksum(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / "t")
    with pytest.raises(Damaged, match="no checksum"):
        load_tensors(tmp_path / "t")


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "t")
