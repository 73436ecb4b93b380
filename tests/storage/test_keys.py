"""A key is the same for the same content alone."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmadapter.storage.keys import content_key

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, VALUES)
def test_settings_have_one_key_exactly_if_their_json_is_one(a, b):
    same = json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)
    assert (content_key(a) == content_key(b)) == same
    assert content_key(a) == hashlib.sha256(json.dumps(a, sort_keys=True).encode()).hexdigest()


def test_the_order_of_names_does_not_matter():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (6,), (2, 3)])
def test_tensors_count_by_type_shape_and_bytes(dtype, shape):
    tensor = torch.ones(shape, dtype=dtype)
    key = content_key(0, [tensor])
    assert content_key(0, [tensor.clone()]) == key != content_key(0)
    assert content_key(0, [tensor.expand(2, *shape)[0]]) == key
    assert content_key(0, [tensor.reshape(1, *shape)]) != key
    assert content_key(0, [tensor.to(torch.float64)]) != key
    if tensor.numel():
        assert content_key(0, [1 - tensor.float()]) != content_key(0, [tensor.float()])


def test_two_tensors_are_not_one_with_the_bytes_of_both():
    a, b = torch.arange(4.0), torch.arange(4.0, 6)
    assert content_key(0, [a, b]) != content_key(0, [torch.cat([a, b])]) != content_key(0, [b, a])
