"""The gated attention against Eq. 7 and 10 written as loops, the frozen model, and PEFT."""

import itertools
import math

import pytest
import torch
from peft import AdaptionPromptConfig, get_peft_model
from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, apply_rotary_pos_emb

from mmadapter.adapter.attention import attach, project_prompts, prompt_attention
from mmadapter.adapter.parameters import Adaption
from tests.tiny import FEATURE_SIZES, HEAD_SIZE, HEADS, HIDDEN, KEY_HEADS, tiny_llama, tiny_model

B, T, K = 2, 5, 7


def attention_module(bias: bool = False) -> LlamaAttention:
    return tiny_llama(attention_bias=bias).double().model.layers[1].self_attn


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [False, True])
def test_prompt_attention_is_equations_7_and_10_written_as_loops(bias):
    """Every prompt P + I_p is projected for itself and meets every query; heads share keys in groups."""
    attention = attention_module(bias)
    if bias:
        for projection in (attention.k_proj, attention.v_proj):
            nn.init.normal_(projection.bias)
    prompts, image, query = random(K, HIDDEN), random(B, HIDDEN, seed=1), random(B, HEADS, T, HEAD_SIZE, seed=2)
    gate = random(HEADS, seed=3).tanh()
    expected = torch.zeros(B, HEADS, T, HEAD_SIZE, dtype=torch.float64)
    for b, h, t in itertools.product(range(B), range(HEADS), range(T)):
        group = h // (HEADS // KEY_HEADS)
        own = slice(group * HEAD_SIZE, (group + 1) * HEAD_SIZE)
        keys = [attention.k_proj(prompts[k] + image[b])[own] for k in range(K)]
        values = [attention.v_proj(prompts[k] + image[b])[own] for k in range(K)]
        weights = [math.exp(query[b, h, t] @ key / math.sqrt(HEAD_SIZE)) for key in keys]
        for weight, value in zip(weights, values, strict=True):
            expected[b, h, t] += gate[h] * weight / sum(weights) * value
    actual = prompt_attention(query, project_prompts(attention, prompts, gate, image), HEAD_SIZE**-0.5)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def test_a_layer_is_the_whole_formula_in_float64():
    """W_o (softmax(q k^T) v + tanh(g) softmax(q k_P^T) v_P), rotary on q and k and on no prompt."""
    attention = attention_module()
    hidden, prompts = random(B, T, HIDDEN), random(K, HIDDEN, seed=1)
    gate = random(HEADS, seed=2)
    angles = torch.arange(T, dtype=torch.float64)[None, :, None] * random(1, 1, HEAD_SIZE // 2, seed=3).abs()
    rotary = torch.cat([angles, angles], dim=-1)
    cos, sin = rotary.cos(), rotary.sin()

    def heads(projection: nn.Linear, states: torch.Tensor) -> torch.Tensor:
        split = projection(states).unflatten(-1, (-1, HEAD_SIZE)).transpose(-3, -2)
        return split if projection is attention.q_proj else split.repeat_interleave(HEADS // KEY_HEADS, dim=-3)

    query, key = apply_rotary_pos_emb(heads(attention.q_proj, hidden), heads(attention.k_proj, hidden), cos, sin)
    causal = torch.full((T, T), -math.inf, dtype=torch.float64).triu(1)
    words = (query @ key.mT / math.sqrt(HEAD_SIZE) + causal).softmax(-1) @ heads(attention.v_proj, hidden)
    prompt_scores = query @ heads(attention.k_proj, prompts).mT / math.sqrt(HEAD_SIZE)
    gated = gate.tanh()[:, None, None] * (prompt_scores.softmax(-1) @ heads(attention.v_proj, prompts))
    expected = attention.o_proj((words + gated).transpose(1, 2).flatten(2))

    attach(attention, project_prompts(attention, prompts, gate.tanh()))
    actual, _ = attention(hidden, position_embeddings=(cos, sin), attention_mask=None)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_rand_init_is_one_softmax_over_prompts_and_words_written_as_loops(bias):
    """softmax(q [k_P; k]^T / sqrt(D) + mask) [v_P; v]: Table 5's other attention; every query sees every prompt."""
    attention = attention_module(bias)
    if bias:
        for projection in (attention.k_proj, attention.v_proj):
            nn.init.normal_(projection.bias)
    hidden, prompts, image = random(B, T, HIDDEN), random(K, HIDDEN, seed=1), random(B, HIDDEN, seed=2)
    still = torch.ones(1, T, HEAD_SIZE, dtype=torch.float64), torch.zeros(1, T, HEAD_SIZE, dtype=torch.float64)
    joined = torch.zeros(B, T, HEADS, HEAD_SIZE, dtype=torch.float64)
    for b, h, t in itertools.product(range(B), range(HEADS), range(T)):
        group = h // (HEADS // KEY_HEADS)
        own = slice(group * HEAD_SIZE, (group + 1) * HEAD_SIZE)
        seen = [prompts[k] + image[b] for k in range(K)] + [hidden[b, s] for s in range(t + 1)]
        query = attention.q_proj(hidden[b, t])[h * HEAD_SIZE : (h + 1) * HEAD_SIZE]
        weights = [math.exp(query @ attention.k_proj(x)[own] / math.sqrt(HEAD_SIZE)) for x in seen]
        for weight, x in zip(weights, seen, strict=True):
            joined[b, t, h] += weight / sum(weights) * attention.v_proj(x)[own]
    attach(attention, project_prompts(attention, prompts, None, image))
    actual, _ = attention(hidden, position_embeddings=still, attention_mask=None)
    torch.testing.assert_close(actual, attention.o_proj(joined.flatten(2)), rtol=0, atol=1e-12)


def test_equals_peft_with_one_gate_for_all_heads_of_a_layer():
    """PEFT's gate has no tanh: it is set to tanh(g). Unpadded, where PEFT is right."""
    model = tiny_model(text_only=True)
    gates = torch.tensor([0.4, -0.9])
    with torch.no_grad():
        model.adapter.gates.copy_(gates[:, None].expand(-1, HEADS))
    peft = get_peft_model(
        tiny_llama("eager"),
        AdaptionPromptConfig(adapter_layers=2, adapter_len=5, target_modules="self_attn", task_type="CAUSAL_LM"),
    )
    for index, layer in enumerate(peft.base_model.model.model.layers[1:]):
        layer.self_attn.adaption_prompt.data = model.adapter.prompts[index : index + 1].detach().clone()
        layer.self_attn.adaption_gate.data = gates[index : index + 1].tanh()
    tokens = torch.randint(3, 250, (B, 13), generator=torch.Generator().manual_seed(0))
    read = torch.tensor([0] * 13 + [1] * 13), torch.arange(13).repeat(2)
    with torch.no_grad():
        expected = peft(input_ids=tokens).logits.flatten(0, 1)
        actual = model.logits(model.adapter(), tokens, read)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)  # float32 in another order of summation


def test_zero_gates_leave_the_frozen_model_bit_for_bit():
    model, frozen = tiny_model(), tiny_llama("sdpa")
    tokens = torch.randint(3, 250, (B, 13))
    read = torch.arange(B).repeat_interleave(13), torch.arange(13).repeat(B)  # the head's sums depend on its shape
    expected = frozen(input_ids=tokens).logits[read]
    features = torch.randn(B, sum(FEATURE_SIZES))
    assert torch.equal(model.logits(model.adapter(features), tokens, read), expected)
    assert torch.equal(model.logits(model.adapter(), tokens, read), expected)
    moved = tiny_model(gate=0.5)
    assert not torch.equal(moved.logits(moved.adapter(features), tokens, read), expected)


def test_nothing_stays_on_the_frozen_model_after_an_error():
    model = tiny_model(gate=0.5)
    adaption = model.adapter()
    with pytest.raises(RuntimeError, match="inside"), model.prompted(adaption):
        raise RuntimeError("inside")
    assert [getattr(layer.self_attn, "adaption", None) for layer in model.llm.layers] == [None] * 3
    assert not [name for name in model.llm.model.state_dict() if "adaption" in name]


def test_text_only_adaption_has_no_image_token():
    adaption = tiny_model(text_only=True).adapter()
    assert isinstance(adaption, Adaption)
    assert adaption.image_token is None
