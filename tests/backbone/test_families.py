"""Family x {zero gates, the formula, a cache, padding, training}, each through a folder of the published form."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mmadapter.backbone.model_files import FAMILIES
from mmadapter.model import MultimodalAdapter
from tests.backbone import formula
from tests.backbone.families import CONFIGS, HEADS, LAYERS, WINDOW, loaded, random_model
from tests.tiny import FEATURE_SIZES, FixedTower

LENGTHS = (13, 5, 9)
WIDTH, LAST = max(LENGTHS), torch.tensor(LENGTHS) - 1
EVERYWHERE = torch.arange(3).repeat_interleave(WIDTH), torch.arange(WIDTH).repeat(3)


def adapted(family: str, gate: float = 0.0, layers: int = 3) -> MultimodalAdapter:
    model = MultimodalAdapter.build(loaded(family), FixedTower(), adapter_len=7, adapter_layers=layers, prompt_std=0.5)
    with torch.no_grad():
        model.adapter.gates.copy_(gate * (1 + torch.arange(layers * HEADS).view(layers, HEADS) / 7))
    return model


def adaption(model: MultimodalAdapter):
    """The second of three questions has no image."""
    features = torch.randn(3, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(1))
    return model.adapter(features, torch.tensor([True, False, True]))


def tokens() -> torch.Tensor:
    return torch.randint(3, 250, (3, WIDTH), generator=torch.Generator().manual_seed(0))


def test_every_family_that_is_let_in_is_tested():
    assert {config.model_type for config in CONFIGS.values()} == set(FAMILIES)
    assert WIDTH > 2 * WINDOW


@torch.no_grad()
@pytest.mark.parametrize("family", CONFIGS)
def test_zero_gates_leave_the_frozen_model_bit_for_bit(family):
    capped = CONFIGS[family].model_type == "gemma2"  # transformers' SDPA knows no cap
    frozen = random_model(CONFIGS[family], "eager" if capped else "sdpa")
    model = adapted(family)
    expected = frozen(input_ids=tokens(), use_cache=False).logits[EVERYWHERE]
    assert torch.equal(model.logits(adaption(model), tokens(), EVERYWHERE), expected)
    assert torch.equal(model.logits(model.adapter(), tokens(), EVERYWHERE), expected)


@torch.no_grad()
@pytest.mark.parametrize("family", CONFIGS)
def test_the_adapted_model_is_the_formula(family):
    model = adapted(family, gate=0.4)
    prompts, gates, image_token = adaption(model)
    actual = model.logits(adaption(model), tokens(), EVERYWHERE).unflatten(0, (3, WIDTH))
    for row, sequence in enumerate(tokens()):
        own = None if row == 1 else image_token[row]
        expected = formula.logits(model.llm.model, sequence, prompts, gates, own)
        torch.testing.assert_close(actual[row].double(), expected, rtol=0, atol=5e-5)  # float32 beside float64


@torch.no_grad()
@pytest.mark.parametrize("family", CONFIGS)
def test_generation_with_a_cache_equals_generation_without(family):
    model = adapted(family, gate=0.4)
    with model.prompted(adaption(model)):
        cached, plain = (
            model.llm.model.generate(
                input_ids=tokens(),
                max_new_tokens=8,
                do_sample=False,
                use_cache=cache,
                pad_token_id=0,
                eos_token_id=None,
                output_logits=True,
                return_dict_in_generate=True,
            )
            for cache in (True, False)
        )
    assert torch.equal(cached.sequences, plain.sequences)
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(plain.logits), rtol=0, atol=5e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", CONFIGS)
def test_padding_on_either_side_changes_nothing(family):
    model = adapted(family, gate=0.4)
    rows = torch.arange(3)
    right, left, mask = (torch.zeros(3, WIDTH, dtype=torch.long) for _ in range(3))
    alone = []
    for row, length in enumerate(LENGTHS):
        sequence = tokens()[row, :length]
        right[row, :length], left[row, WIDTH - length :], mask[row, WIDTH - length :] = sequence, sequence, 1
        own = adaption(model)
        own = own._replace(image_token=own.image_token[row : row + 1])
        alone.append(model.logits(own, sequence[None], (torch.tensor([0]), torch.tensor([-1]))))
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    padded = {
        "right": model.logits(adaption(model), right, (rows, LAST)),
        "right, masked": model.logits(adaption(model), right, (rows, LAST), attention_mask=mask.flip(1)),
        "left": model.logits(
            adaption(model), left, (rows, rows * 0 + WIDTH - 1), attention_mask=mask, position_ids=positions
        ),
    }
    for logits in padded.values():
        torch.testing.assert_close(logits, torch.cat(alone), rtol=0, atol=5e-5)


@pytest.mark.parametrize("family", CONFIGS)
def test_training_moves_every_adapter_weight_and_no_other(family):
    model = adapted(family, layers=LAYERS)
    frozen = {name: weight.clone() for name, weight in model.llm.model.state_dict().items()}
    before = {name: weight.detach().clone() for name, weight in model.adapter.named_parameters()}
    optimiser = torch.optim.Adam(model.adapter.parameters(), lr=0.02)
    losses = []
    for _ in range(3):  # at gate 0 prompts and projection have no gradient: they move from the second step on
        logits = model.logits(adaption(model), tokens()[:, :-1], (torch.arange(3), LAST - 1))
        loss = cross_entropy(logits, tokens()[torch.arange(3), LAST])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not [name for name, weight in model.adapter.named_parameters() if (weight == before[name]).any()]
    assert all(torch.equal(weight, frozen[name]) for name, weight in model.llm.model.state_dict().items())
