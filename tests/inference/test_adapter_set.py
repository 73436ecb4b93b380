"""Several adapters in one batch: each row is what its adapter alone gives."""

import pytest
import torch

from mmadapter.errors import UserError
from mmadapter.inference.adapter_set import AdapterSet
from mmadapter.inference.generation import generate
from mmadapter.model import MultimodalAdapter
from tests.tiny import FEATURE_SIZES, FixedTower, tiny_lm

LENGTHS = (13, 5, 9, 13, 7)
NAMES = ("image", "wide", "image", "prefix", "text")


@pytest.fixture(scope="module")
def adapters() -> AdapterSet:
    return several(torch.float32)


def several(dtype: torch.dtype) -> AdapterSet:
    """They differ in K, in L, in their attention and in whether they read images."""
    llm = tiny_lm()
    llm.model.to(dtype)
    models = {
        "image": MultimodalAdapter.build(llm, FixedTower(), adapter_len=5, adapter_layers=2, projection_hidden=13),
        "wide": MultimodalAdapter.build(llm, None, adapter_len=11, adapter_layers=3, seed=1),
        "prefix": MultimodalAdapter.build(llm, None, adapter_len=7, adapter_layers=1, seed=2, attention="rand-init"),
        "text": MultimodalAdapter.build(llm, None, adapter_len=5, adapter_layers=1, seed=3),
        "unused": MultimodalAdapter.build(llm, None, adapter_len=2, adapter_layers=1),
    }
    for seed, model in enumerate(models.values()):
        if model.adapter.gates is not None:
            generator = torch.Generator().manual_seed(seed)
            model.adapter.gates.data = 0.5 + 0.3 * torch.randn(model.adapter.gates.shape, generator=generator)
    return AdapterSet(models)


def sequences() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(3, 250, (length,), generator=generator) for length in LENGTHS]


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Of the two rows that read one; the second has none."""
    features = torch.randn(2, sum(FEATURE_SIZES), generator=torch.Generator().manual_seed(1))
    return features, torch.tensor([True, False])


def alone(adapters: AdapterSet, row: int):
    """The row's model and its adaption for that row."""
    model = adapters[NAMES[row]]
    own = [part[row // 2 : row // 2 + 1] for part in images()] if NAMES[row] == "image" else []
    return model, model.adapter(*own)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-6), (torch.float32, 2e-5)], ids=str)
@pytest.mark.parametrize("padding", ["right", "left", "tree"])
@torch.no_grad()
def test_each_row_has_the_logits_of_its_adapter_alone(padding, dtype, atol):
    """Computed in float64 they differ by the rounding of the logits, which are float32, alone; in float32 other shapes
    and masks sum in another order."""
    adapters = several(dtype)
    tokens = torch.zeros(len(LENGTHS), 13, dtype=torch.long)
    mask = torch.zeros(len(LENGTHS), 13, dtype=torch.long)
    for row, own in enumerate(sequences()):
        where = slice(13 - len(own), 13) if padding == "left" else slice(0, len(own))
        tokens[row, where], mask[row, where] = own, 1
    read = mask.nonzero(as_tuple=True)
    inputs = {}
    if padding == "left":
        inputs = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    elif padding == "tree":
        inputs = {"attention_mask": torch.ones(13, 13, dtype=torch.bool).tril().expand(len(LENGTHS), 1, -1, -1)}
    actual = adapters.logits(adapters.adaption(NAMES, {"image": images()}), tokens, read, **inputs)
    expected = []
    for row, own in enumerate(sequences()):
        model, adaption = alone(adapters, row)
        expected.append(model.logits(adaption, own[None], (torch.zeros(len(own), dtype=int), torch.arange(len(own)))))
    torch.testing.assert_close(actual, torch.cat(expected), rtol=0, atol=atol)
    frozen = adapters["unused"]  # its gate is 0
    distance = [
        (own - frozen.logits(frozen.adapter(), tokens, (torch.zeros(len(own), dtype=int), torch.arange(len(own)))))
        for own, tokens in zip(expected, [each[None] for each in sequences()], strict=True)
    ]
    assert min(each.abs().max() for each in distance) > 0.05  # each adapter is seen


def test_texts_are_those_of_each_adapter_alone(adapters):
    prompts = [own.tolist() for own in sequences()]
    with adapters.prompted(adapters.adaption(NAMES, {"image": images()})):
        mixed = generate(adapters.llm, prompts, 8)
    expected = []
    for row, prompt in enumerate(prompts):
        model, adaption = alone(adapters, row)
        with model.prompted(adaption):
            expected += generate(adapters.llm, [prompt], 8)
    assert mixed == expected


def test_gradients_reach_each_adapter_in_the_batch_and_no_other(adapters):
    tokens, read = torch.stack([sequences()[0]] * 5), (torch.arange(5), torch.full((5,), 12))
    adapters.logits(adapters.adaption(NAMES, {"image": images()}), tokens, read).square().sum().backward()
    moved = {name: model.adapter.prompts.grad is not None for name, model in adapters.models.items()}
    assert moved == {"image": True, "wide": True, "prefix": True, "text": True, "unused": False}
    assert all(parameter.grad is None for parameter in adapters.llm.model.parameters())


def test_nothing_stays_on_the_frozen_model(adapters):
    with adapters.prompted(adapters.adaption(["text"])):
        pass
    assert [getattr(layer.self_attn, "adaption", None) for layer in adapters.llm.layers] == [None] * 3


def test_loaded_together_they_share_one_language_model(tmp_path):
    llm = tiny_lm()
    for name in ("one", "other"):
        MultimodalAdapter.build(llm, None, adapter_len=5, adapter_layers=2).save_pretrained(tmp_path / name)
    loaded = AdapterSet.from_pretrained({name: tmp_path / name for name in ("one", "other")}, llm=llm)
    assert loaded["one"].llm is loaded["other"].llm is llm


def test_what_is_wrong_is_told(adapters):
    with pytest.raises(UserError, match="no adapter nobody: these are image, wide, prefix, text, unused"):
        adapters.adaption(["nobody"])
    with pytest.raises(UserError, match="images for adapter image, which no row of the batch names"):
        adapters.adaption(["text"], {"image": images()})
    with pytest.raises(UserError, match="2 rows of image features for 1 of the batch"):
        adapters.adaption(["image"], {"image": images()})
    with pytest.raises(UserError, match="no adapters: name at least one"):
        AdapterSet({})
    other = MultimodalAdapter.build(tiny_lm(), None, adapter_len=5, adapter_layers=2)
    with pytest.raises(UserError, match="adapter other: sits on another language model than text"):
        AdapterSet({"text": adapters["text"], "other": other})
