"""The adapted model as a whole: padding, cache, gradients, files."""

import json

import pytest
import torch

from mmadapter.config.settings import InputFormat
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from tests.tiny import FEATURE_SIZES, LAYERS, FixedTower, tiny_lm, tiny_model

LENGTHS = (13, 5, 9)


@pytest.fixture
def model() -> MultimodalAdapter:
    return tiny_model(gate=0.5)


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 250, (length,), generator=generator) for length in LENGTHS]


def adaption(model: MultimodalAdapter, rows: slice = slice(None)):
    """One question of three has no image: the batch is mixed."""
    features = torch.randn(3, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(1))
    return model.adapter(features[rows], torch.tensor([True, False, True])[rows])


@torch.no_grad()
def test_left_padded_right_padded_and_unpadded_logits_agree(model):
    """Padding moves queries: without correct position ids the prompt branch would see it."""
    alone = torch.cat(
        [
            model.logits(adaption(model, slice(row, row + 1)), tokens[None], (torch.tensor([0]), torch.tensor([-1])))
            for row, tokens in enumerate(sequences())
        ]
    )
    width = max(LENGTHS)
    right, left, mask = torch.zeros(3, width, dtype=int), torch.zeros(3, width, dtype=int), torch.zeros(3, width)
    for row, tokens in enumerate(sequences()):
        right[row, : len(tokens)], left[row, width - len(tokens) :] = tokens, tokens
        mask[row, width - len(tokens) :] = 1
    rows, last = torch.arange(3), torch.tensor(LENGTHS) - 1
    padded_right = model.logits(adaption(model), right, (rows, last))
    with_mask = model.logits(adaption(model), right, (rows, last), attention_mask=mask.flip(1).sort(1, True).values)
    positions = (mask.cumsum(1) - 1).clamp(min=0).long()
    padded_left = model.logits(
        adaption(model), left, (rows, rows * 0 + width - 1), attention_mask=mask, position_ids=positions
    )
    for padded in (padded_right, with_mask, padded_left):
        torch.testing.assert_close(padded, alone, rtol=0, atol=2e-5)  # float32, other shapes of the same sums


@torch.no_grad()
def test_the_image_matters_only_to_questions_that_have_one(model):
    tokens, read = torch.stack([sequences()[1]] * 3), (torch.arange(3), torch.full((3,), 4))
    mixed = model.logits(adaption(model), tokens, read)
    without = model.logits(model.adapter(), tokens, read)
    assert torch.equal(mixed[1], without[1])
    assert not torch.allclose(mixed[0], without[0])
    assert not torch.allclose(mixed[0], mixed[2])


@torch.no_grad()
def test_generation_with_a_cache_equals_generation_without(model):
    tokens = torch.stack([sequences()[2]] * 3)
    with model.prompted(adaption(model)):
        cached, plain = (
            model.llm.model.generate(
                input_ids=tokens, max_new_tokens=12, do_sample=False, use_cache=cache, pad_token_id=0, eos_token_id=None
            )
            for cache in (True, False)
        )
    assert torch.equal(cached, plain)
    assert len({tuple(row) for row in cached.tolist()}) > 1  # the images lead to different texts


def test_no_gradient_below_the_first_adapted_layer_and_none_on_the_frozen_model(model):
    seen = {}
    for index, layer in enumerate(model.llm.layers):
        layer.register_forward_hook(lambda _m, _i, out, index=index: seen.update({index: out.requires_grad}))
    tokens, read = torch.stack([sequences()[1]] * 3), (torch.arange(3), torch.full((3,), 4))
    model.logits(adaption(model), tokens, read).sum().backward()
    assert seen == {0: False, 1: True, 2: True}
    assert not [name for name, parameter in model.llm.model.named_parameters() if parameter.grad is not None]
    assert all(parameter.grad is not None for parameter in model.adapter.parameters())


def test_saved_and_loaded_gives_the_same_logits(model, tmp_path):
    model.form = InputFormat(answer="text", max_tokens=77)
    model.save_pretrained(tmp_path)
    loaded = MultimodalAdapter.from_pretrained(tmp_path, llm=tiny_lm(), tower=FixedTower())
    assert loaded.form == model.form
    tokens, read = torch.stack([sequences()[1]] * 3), (torch.arange(3), torch.full((3,), 4))
    assert torch.equal(loaded.logits(adaption(loaded), tokens, read), model.logits(adaption(model), tokens, read))


def test_two_adapters_share_one_frozen_model():
    llm = tiny_lm()
    settings = {"adapter_len": 5, "adapter_layers": 2}
    first, second = (MultimodalAdapter.build(llm, None, seed=seed, **settings) for seed in (0, 1))
    for model in (first, second):
        torch.nn.init.constant_(model.adapter.gates, 0.5)
    tokens, read = sequences()[0][None], (torch.tensor([0]), torch.tensor([12]))
    with torch.no_grad():
        before = first.logits(first.adapter(), tokens, read)
        assert not torch.allclose(second.logits(second.adapter(), tokens, read), before)
        assert torch.equal(first.logits(first.adapter(), tokens, read), before)


@pytest.mark.parametrize("layers", [0, LAYERS + 1])
def test_more_layers_than_there_are(layers):
    with pytest.raises(UserError, match=f"adapter_layers is {layers}, but tiny-in-memory has 3 layers: choose 1 to 3"):
        MultimodalAdapter.build(tiny_lm(), None, adapter_layers=layers)


def test_another_backbone_is_refused(model, tmp_path):
    model.save_pretrained(tmp_path)
    other = tiny_lm(intermediate_size=40)
    with pytest.raises(UserError, match="this adapter was trained on tiny-in-memory"):
        MultimodalAdapter.from_pretrained(tmp_path, llm=other, tower=FixedTower())
    with pytest.raises(UserError, match="this adapter was trained on fixed"):
        MultimodalAdapter.from_pretrained(tmp_path, llm=tiny_lm(), tower=FixedTower("1" * 64))


@pytest.mark.parametrize("missing", ["llm", "input", "clip_fingerprint"])
def test_a_configuration_that_does_not_say_where_it_belongs(model, tmp_path, missing):
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    config = json.loads(path.read_text())
    del config[missing]
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not say what the adapter belongs to"):
        MultimodalAdapter.from_pretrained(tmp_path, llm=tiny_lm(), tower=FixedTower())


@torch.no_grad()
def test_rand_init_is_the_frozen_model_with_a_prefix_whatever_the_padding():
    """Nothing else is computed: the same rows alone, padded, and generated with a cache."""
    model = tiny_model(attention="rand-init")
    alone = torch.cat(
        [
            model.logits(adaption(model, slice(row, row + 1)), tokens[None], (torch.tensor([0]), torch.tensor([-1])))
            for row, tokens in enumerate(sequences())
        ]
    )
    width = max(LENGTHS)
    right = torch.stack([torch.nn.functional.pad(tokens, (0, width - len(tokens))) for tokens in sequences()])
    padded = model.logits(adaption(model), right, (torch.arange(3), torch.tensor(LENGTHS) - 1))
    torch.testing.assert_close(padded, alone, rtol=0, atol=2e-5)  # float32, other shapes of the same sums

    left = torch.stack([torch.nn.functional.pad(tokens, (width - len(tokens), 0)) for tokens in sequences()])
    mask = torch.stack([torch.arange(width) >= width - length for length in LENGTHS]).long()
    with model.prompted(adaption(model)):
        cached, plain = (
            model.llm.model.generate(
                input_ids=left, attention_mask=mask, max_new_tokens=9, do_sample=False, use_cache=cache,
                pad_token_id=0, eos_token_id=None,
            )
            for cache in (True, False)
        )  # fmt: skip
    assert torch.equal(cached, plain)
    assert torch.equal(cached[:, width], alone.argmax(-1))


def test_rand_init_starts_elsewhere_than_the_frozen_model_and_every_weight_of_it_moves():
    model = tiny_model(attention="rand-init")
    tokens, read = torch.stack([sequences()[1]] * 3), (torch.arange(3), torch.full((3,), 4))
    logits = model.logits(adaption(model), tokens, read)
    zero = tiny_model()
    assert not torch.allclose(logits, zero.logits(adaption(zero), tokens, read), atol=1e-2)
    logits.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.adapter.parameters())
