"""A small LLaMA in a folder, adapters of it, and its logits under one."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from mmadapter.adapter.parameters import Adapter, AdapterConfig
from mmadapter.backbone.loading import load_llm
from mmadapter.model import MultimodalAdapter
from tests.tiny import HEADS, byte_tokenizer, tiny_llama

K, L = 5, 2
TOKENS = torch.randint(3, 250, (2, 13), generator=torch.Generator().manual_seed(0))
READ = torch.tensor([0] * 13 + [1] * 13), torch.arange(13).repeat(2)


@pytest.fixture(scope="session")
def llama(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    tiny_llama().save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def plain_llama(tmp_path_factory) -> Path:
    """Without grouped heads, as the authors' is."""
    folder = tmp_path_factory.mktemp("plain-llama")
    tiny_llama(num_key_value_heads=HEADS).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def save_ours(folder: Path, llm: Path, gates: Tensor, **config: object) -> MultimodalAdapter:
    """A text-only adapter with these gates and random prompts."""
    model = MultimodalAdapter.build(str(llm), None, adapter_len=K, adapter_layers=L)
    changed = AdapterConfig(**{**vars(model.adapter.config), **config})
    model.adapter = Adapter(changed, seed=1)
    with torch.no_grad():
        model.adapter.gates.copy_(gates)
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def logits_of(folder: Path) -> Tensor:
    """Under an adapter of mmadapter's, at every position; in float64, so that no rounding hides a difference."""
    llm = load_llm(json.loads((folder / "adapter_config.json").read_text())["llm"], dtype=torch.float64)
    model = MultimodalAdapter.from_pretrained(folder, llm=llm)
    return model.logits(model.adapter(), TOKENS, READ).unflatten(0, TOKENS.shape)


def load(folder: Path, **settings: object) -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(folder, **settings)


def same_tensors(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """To the last bit, with dtypes and shapes."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )
