import pytest

from mmadapter.errors import UserError
from mmadapter.vision.scales import evenly_spaced


@pytest.mark.parametrize(
    ("blocks", "scales", "indices"),
    [
        (24, 4, [5, 11, 17, 23]),
        (12, 5, [1, 4, 6, 9, 11]),
        (5, 5, [0, 1, 2, 3, 4]),
        (7, 1, [6]),
    ],
)
def test_evenly_spaced_blocks(blocks, scales, indices):
    assert evenly_spaced(blocks, scales) == indices


def test_always_distinct_and_ending_at_the_last_block():
    for blocks in range(1, 41):
        for scales in range(1, blocks + 1):
            indices = evenly_spaced(blocks, scales)
            assert len(set(indices)) == scales
            assert indices[-1] == blocks - 1


@pytest.mark.parametrize("scales", [0, 6])
def test_more_scales_than_blocks(scales):
    with pytest.raises(UserError, match="choose 1 to 5"):
        evenly_spaced(5, scales)
