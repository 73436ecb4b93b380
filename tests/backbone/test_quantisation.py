"""Frozen weights in 8 and 4 bits against the same model with the numbers that those bits stand for."""

import importlib

import pytest
import torch

from mmadapter.backbone.loading import load_llm
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter
from tests.backbone.families import CONFIGS, random_model
from tests.tiny import FEATURE_SIZES, FixedTower, byte_tokenizer

bitsandbytes = pytest.importorskip("bitsandbytes")

ROWS = torch.arange(3).repeat_interleave(13), torch.arange(13).repeat(3)
FAMILIES = ["llama with biases", "qwen3", "gemma2"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for family in FAMILIES:
        made[family] = tmp_path_factory.mktemp("model")
        random_model(CONFIGS[family]).save_pretrained(made[family])
        byte_tokenizer().save_pretrained(made[family])
    return made


def adapted(folder, quantise: str, dtype: torch.dtype = torch.float32) -> MultimodalAdapter:
    llm = load_llm(str(folder), quantise=quantise, dtype=dtype)
    model = MultimodalAdapter.build(llm, FixedTower(), adapter_len=7, adapter_layers=3, prompt_std=0.5)
    torch.nn.init.constant_(model.adapter.gates, 0.4)
    return model


def logits(model: MultimodalAdapter) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 250, (3, 13), generator=generator)
    return model.logits(model.adapter(torch.randn(3, sum(FEATURE_SIZES), generator=generator)), tokens, ROWS)


def unpacked(module: torch.nn.Module, quantise: str) -> torch.Tensor:
    if quantise == "4bit":
        return bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
    state = module.weight if module.weight.SCB is not None else module.state
    return module.weight.data.float() * state.SCB[:, None] / 127


@pytest.mark.parametrize(("quantise", "atol"), [("8bit", 0.1), ("4bit", 1e-5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_the_weights_that_the_bits_stand_for(folders, family, quantise, atol):
    """In relation to their norms. 4 bits are unpacked and multiplied in float32; 8 bits also round what they
    multiply, to a 127th of a row's largest number."""
    packed, plain = adapted(folders[family], quantise), adapted(folders[family], "none")
    with torch.no_grad():
        logits(packed)  # a validation, as it stands between epochs, leaves nothing behind
    modules = dict(packed.llm.model.named_modules())
    replaced = 0
    for name, module in plain.llm.model.named_modules():
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head"):
            module.weight.data.copy_(unpacked(modules[name], quantise))
            replaced += 1
    assert replaced == 7 * len(plain.llm.layers)
    results = [logits(model) for model in (packed, plain)]
    gradients = [
        torch.autograd.grad(result.square().sum(), model.adapter.prompts)[0]
        for result, model in zip(results, (packed, plain), strict=True)
    ]
    for actual, expected in (results, gradients):
        assert (actual - expected).norm() <= atol * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantise", ["8bit", "4bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_through_them_moves_every_adapter_weight(folders, family, quantise, dtype):
    model = adapted(folders[family], quantise, dtype)
    before = {name: weight.detach().clone() for name, weight in model.adapter.named_parameters()}
    optimiser = torch.optim.Adam(model.adapter.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        loss = -logits(model).log_softmax(-1)[:, 7].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not [name for name, weight in model.adapter.named_parameters() if torch.equal(weight, before[name])]
    assert not [name for name, weight in model.llm.model.named_parameters() if weight.grad is not None]


def test_an_adapter_knows_its_model_by_its_architecture_not_by_its_bits(folders):
    folder = str(folders["qwen3"])
    assert load_llm(folder, quantise="4bit").fingerprint == load_llm(folder).fingerprint


def test_where_it_cannot_be(folders, monkeypatch, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"--quantise 8bit: needs bitsandbytes: pip install 'mmadapter\[quantise\]'"):
        load_llm(str(folders["qwen3"]), quantise="8bit")
