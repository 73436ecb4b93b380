"""The decoder in parts against the decoder's own whole forward; and what is not computed, counted."""

import pytest
import torch
from transformers import PreTrainedModel

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.decoder import hidden_at, hidden_below
from tests.backbone.families import CONFIGS, random_model

LENGTHS = (13, 5, 9)
READ = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([3, 11, 12, 4, 0, 8])


def decoder(family: str) -> PreTrainedModel:
    return random_model(CONFIGS[family], ATTENTION_NAME).get_decoder()


def tokens() -> torch.Tensor:
    return torch.randint(97, (3, max(LENGTHS)), generator=torch.Generator().manual_seed(1))


def tree_mask() -> torch.Tensor:
    """Causal, but positions 6 to 8 are hidden from those behind them."""
    steps = torch.arange(max(LENGTHS))
    mask = (steps[:, None] >= steps) & ~((steps[:, None] > 8) & (steps >= 6) & (steps <= 8))
    return mask.expand(3, 1, -1, -1)


MASKS = {
    "causal": {},
    "padded": {"attention_mask": torch.tensor([[1] * n + [0] * (max(LENGTHS) - n) for n in LENGTHS])},
    "tree": {"attention_mask": tree_mask(), "position_ids": torch.arange(max(LENGTHS)).expand(3, -1)},
}


@torch.no_grad()
@pytest.mark.parametrize("first", [0, 1, 3])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("family", CONFIGS)
def test_in_parts_equals_the_whole(family, mask, first):
    part = decoder(family)
    inputs = MASKS[mask]
    whole = part(input_ids=tokens(), use_cache=False, **inputs).last_hidden_state[READ]
    below = hidden_below(part, first, tokens(), **inputs)
    torch.testing.assert_close(hidden_at(part, first, below, READ, **inputs), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_of_the_last_layer_only_keys_and_values_see_every_token():
    """Counted, not timed: rows that pass each module of the last layer, and those of the layer before it."""
    part = decoder("llama")
    rows = {}
    for name, module in [*part.layers[-1].named_modules(), ("norm", part.norm), ("below", part.layers[-2].mlp)]:
        if name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.down_proj", "norm", "below"):
            module.register_forward_hook(
                lambda _m, _i, out, name=name: rows.setdefault(name, []).append(out.shape[:-1].numel())
            )
    hidden_at(part, 1, hidden_below(part, 1, tokens()), READ)
    everything, read = 3 * max(LENGTHS), 3 * 3  # three rows of at most three positions
    assert rows == {
        "below": [everything],
        "self_attn.k_proj": [everything, read],
        "self_attn.q_proj": [read],
        "self_attn.o_proj": [read],
        "mlp.down_proj": [read],
        "norm": [read],
    }


def test_gradients_are_those_of_the_whole():
    part = decoder("llama")
    gradients = []
    for run in (
        lambda hidden: hidden_at(part, 2, hidden, READ),
        lambda hidden: part_from(part, 2, hidden)[READ],
    ):
        hidden = hidden_below(part, 2, tokens()).requires_grad_()
        run(hidden).square().sum().backward()
        gradients.append(hidden.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-4)


def part_from(decoder: PreTrainedModel, first: int, hidden: torch.Tensor) -> torch.Tensor:
    """The whole forward, what enters layer `first` replaced."""
    handle = decoder.layers[first].register_forward_pre_hook(lambda _m, args: (hidden, *args[1:]))
    try:
        return decoder(input_ids=tokens(), use_cache=False).last_hidden_state
    finally:
        handle.remove()
