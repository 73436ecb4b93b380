"""The authors' layout against their attention, written anew from its description in float64."""

import math

import pytest
import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import LlamaForCausalLM

from mmadapter.interchange.convert import convert
from tests.interchange.conftest import TOKENS, L, load, logits_of, random, same_tensors, save_ours
from tests.tiny import HEAD_SIZE, HEADS, HIDDEN, LAYERS

K = 10


def released(gate_shape: tuple[int, ...] = (1, HEADS, 1, 1), dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A file as their extraction script writes it: the gates of all layers, those without prompts 0."""
    tensors = {f"layers.{layer}.attention.gate": torch.zeros(gate_shape, dtype=dtype) for layer in range(LAYERS)}
    for layer in range(LAYERS - L, LAYERS):
        tensors[f"layers.{layer}.attention.gate"] = (0.7 * random(*gate_shape, seed=layer)).to(dtype)
    return tensors | {"adapter_query.weight": random(L * K, HIDDEN, seed=9).to(dtype)}


@torch.no_grad()
def authors_logits(llama: LlamaForCausalLM, tensors: dict[str, Tensor], tanh: bool) -> Tensor:
    """Their adapted LLaMA on TOKENS, layer by layer, in float64.

    Rotary halves as transformers stores them, which is theirs with rows of W_q and W_k in another order.
    """
    model = llama.double().model
    steps = torch.arange(TOKENS.shape[1], dtype=torch.float64)
    inverse = llama.config.rope_parameters["rope_theta"] ** -(
        torch.arange(0, HEAD_SIZE, 2, dtype=torch.float64) / HEAD_SIZE
    )
    angles = (steps[:, None] * inverse).repeat(1, 2)

    def rotated(states: Tensor) -> Tensor:
        low, high = states.chunk(2, dim=-1)
        return states * angles.cos() + torch.cat([-high, low], dim=-1) * angles.sin()

    def heads(states: Tensor) -> Tensor:
        return states.unflatten(-1, (HEADS, HEAD_SIZE)).transpose(-3, -2)

    prompts = tensors["adapter_query.weight"].double().reshape(L, K, HIDDEN)
    causal = torch.full((len(steps), len(steps)), -math.inf, dtype=torch.float64).triu(1)
    hidden = model.embed_tokens(TOKENS)
    for number, layer in enumerate(model.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        query, key = rotated(heads(attention.q_proj(normed))), rotated(heads(attention.k_proj(normed)))
        value, scores = heads(attention.v_proj(normed)), query @ key.mT / HEAD_SIZE**0.5 + causal
        weights = scores.softmax(-1)
        if number >= LAYERS - L:  # the prompts stand before the words: a softmax of their own, times the gate
            gate = tensors[f"layers.{number}.attention.gate"].double()
            prompt = prompts[number - (LAYERS - L)]
            prompt_key, prompt_value = heads(attention.k_proj(prompt)), heads(attention.v_proj(prompt))
            gated = (gate.tanh() if tanh else gate) * (query @ prompt_key.mT / HEAD_SIZE**0.5).softmax(-1)
            weights = torch.cat([gated, weights], dim=-1)
            value = torch.cat([prompt_value.expand(len(TOKENS), -1, -1, -1), value], dim=-2)
        hidden = hidden + attention.o_proj((weights @ value).transpose(1, 2).flatten(2))
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return llama.lm_head(model.norm(hidden)).float()


@pytest.mark.parametrize("gate", ["tanh", "identity"])
@pytest.mark.parametrize("gate_shape", [(1, HEADS, 1, 1), (1,)])
def test_their_adapter_gives_their_logits(plain_llama, tmp_path, gate, gate_shape):
    torch.save(released(gate_shape), tmp_path / "adapter.pth")
    convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama), gate=gate)
    expected = authors_logits(load(plain_llama), released(gate_shape), tanh=gate == "tanh")
    torch.testing.assert_close(logits_of(tmp_path / "ours"), expected, rtol=0, atol=1e-5)
    other = authors_logits(load(plain_llama), released(gate_shape), tanh=gate != "tanh")
    assert (other - expected).abs().max() > 1e-2  # the two would be told apart


def test_ours_gives_its_logits_in_their_code(plain_llama, tmp_path):
    save_ours(tmp_path / "ours", plain_llama, 0.7 * random(L, HEADS), adapter_len=K)
    expected = logits_of(tmp_path / "ours")
    for gate in ("tanh", "identity"):
        file = tmp_path / f"{gate}.pth"
        convert(tmp_path / "ours", file, "authors", gate=gate)
        actual = authors_logits(load(plain_llama), torch.load(file, weights_only=True), tanh=gate == "tanh")
        torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gate", ["tanh", "identity"])
def test_there_and_back_is_the_same_file(plain_llama, tmp_path, gate):
    torch.save(released(), tmp_path / "adapter.pth")
    convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama), gate=gate)
    convert(tmp_path / "ours", tmp_path / "back.pth", "authors")
    assert same_tensors(torch.load(tmp_path / "back.pth", weights_only=True), released())
    convert(tmp_path / "back.pth", tmp_path / "again", "mmadapter", llm=str(plain_llama), gate=gate)
    for name in ("adapter.safetensors", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()


def test_half_precision_is_taken_as_it_is(plain_llama, tmp_path):
    half = released(dtype=torch.float16)
    torch.save({"model": half}, tmp_path / "adapter.pth")  # as in a checkpoint
    convert(tmp_path / "adapter.pth", tmp_path / "ours", "mmadapter", llm=str(plain_llama))
    convert(tmp_path / "ours", tmp_path / "back.pth", "authors")
    assert same_tensors(
        torch.load(tmp_path / "back.pth", weights_only=True), {name: tensor.float() for name, tensor in half.items()}
    )
