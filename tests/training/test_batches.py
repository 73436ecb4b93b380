"""The order of the problems."""

from hypothesis import given
from hypothesis import strategies as st

from mmadapter.training.batches import BUCKET, epoch_batches, forward_parts

lengths = st.lists(st.integers(1, 500), min_size=1, max_size=300)


@given(lengths, st.integers(1, 20), st.integers(0, 3), st.integers(0, 3))
def test_every_epoch_is_a_partition_and_depends_on_seed_and_epoch_alone(lengths, batch_size, seed, epoch):
    batches = epoch_batches(lengths, batch_size, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert batches == epoch_batches(lengths, batch_size, seed, epoch)


@given(lengths, st.integers(1, 1000), st.integers(1, 5))
def test_processes_share_a_batch_and_no_forward_is_larger_than_allowed(lengths, max_tokens, processes):
    batch = list(range(len(lengths)))
    shares = [forward_parts(batch, lengths, max_tokens, (process, processes)) for process in range(processes)]
    assert sorted(index for parts in shares for part in parts for index in part) == batch
    for parts in shares:
        assert all(len(part) == 1 or len(part) * max(lengths[i] for i in part) <= max_tokens for part in parts)
    sizes = [sum(map(len, parts)) for parts in shares]
    assert max(sizes) - min(sizes) <= 1


def test_seeds_and_epochs_differ():
    orders = {str(epoch_batches([5] * 40, 4, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_batches_are_of_similar_length():
    """Padding of random batches, and of ours, over lengths like ScienceQA's."""
    lengths = [20 + (index * 7919) % 230 for index in range(2000)]

    def padded(batches: list[list[int]]) -> float:
        return sum(len(b) * max(lengths[i] for i in b) for b in batches) / sum(lengths)

    plain = [list(range(start, start + 16)) for start in range(0, 2000, 16)]
    assert padded(plain) > 1.5
    assert padded(epoch_batches(lengths, 16, 0, 0)) < 1 + 2 / BUCKET + 0.05
