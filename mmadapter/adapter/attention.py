"""Zero-init gated attention (arXiv 2303.16199, sections 3.2 and 3.3), as an attention function of transformers.

Axes: B batch, T tokens, S words attended to, C hidden size, H query heads, G key/value heads, D head size,
K adapter_len.

In an adapted layer l a query q attends to the words and, in a softmax of its own, to the K prompts (Eq. 7):

    softmax(q k^T / sqrt(D)) v  +  tanh(g_l) softmax(q (W_k P^v_l)^T / sqrt(D)) W_v P^v_l

The first term is the frozen layer's own. The prompts carry the image token: P^v_l = P_l + Repeat_K(I_p) (Eq. 10).
As W_k is linear, I_p adds the same q W_k I_p to all K scores, which the softmax cancels; and as its K weights sum to
1, I_p adds exactly W_v I_p to its output:

    softmax(q (W_k P^v)^T / sqrt(D)) W_v P^v  =  softmax(q (W_k P)^T / sqrt(D)) W_v P  +  W_v I_p

So the prompts are projected once for each batch, the image token once for each example, and no query meets it.

In some models the score is not linear in the prompt: Qwen3 and Gemma 3 normalise each head of a key, Gemma 2 caps the
scores, c tanh(score / c). There prompts are treated like words, and the keys are those of P^v: K for each example.

Rand-init attention, the ablation in Table 5, is the frozen layer's own attention over [P^v; words]: one softmax
without a gate.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION_NAME = "mmadapter"
"""The name of this attention in a model's `config._attn_implementation`."""


class LayerPrompts(NamedTuple):
    """One layer's projected prompts for zero-init attention."""

    key: Float[Tensor, "P H K D"]
    """W_k P_l with P = 1; W_k P^v_l with P = B where the image does not cancel. Not rotated: prompts have no
    position, and every token sees all of them."""
    value: Float[Tensor, "1 H K D"]
    """W_v P_l."""
    image_value: Float[Tensor, "B H 1 D"] | None
    """W_v I_p, zero for examples without an image; None if no example has one."""
    gate: Float[Tensor, " H"]
    """tanh(g_l), or as `AdapterConfig.gate_activation` says."""


class PrefixPrompts(NamedTuple):
    """One layer's projected prompts P^v_l for rand-init attention; P = B, or 1 without images."""

    key: Float[Tensor, "P G K D"]
    value: Float[Tensor, "P G K D"]


class RowPrompts(NamedTuple):
    """One layer's prompts from several adapters; each row of the batch belongs to exactly one of them."""

    rows: tuple[Int[Tensor, " _"], ...]
    prompts: tuple[LayerPrompts | PrefixPrompts | None, ...]
    """None: the adapter leaves this layer frozen."""


AnyPrompts = LayerPrompts | PrefixPrompts | RowPrompts | None


def prompt_attention(
    query: Float[Tensor, "B H T D"], prompts: LayerPrompts, scaling: float, softcap: float | None = None
) -> Float[Tensor, "B H T D"]:
    """Compute the gated term of Eq. 7, which is added to the output of the frozen attention.

    gate * (softmax(scaling * Q P_K^T) P_V + W_v I_p)

    Args:
        query: rotated by RoPE, as the frozen layer uses it.
        scaling: the frozen layer's, 1 / sqrt(D) in LLaMA.
        softcap: the frozen layer's bound on its scores, if it has one.
    """
    if softcap is None:
        key, value = (part.expand(len(query), -1, -1, -1) for part in (prompts.key, prompts.value))
        context = scaled_dot_product_attention(query, key, value, scale=scaling)
    else:
        context = prompt_weights(query, prompts, scaling, softcap).to(query.dtype) @ prompts.value
    if prompts.image_value is not None:
        context = context + prompts.image_value
    return prompts.gate.to(query.dtype)[:, None, None] * context


def prompt_weights(
    query: Float[Tensor, "B H T D"], prompts: LayerPrompts, scaling: float, softcap: float | None = None
) -> Float[Tensor, "B H T K"]:
    """Compute the softmax over the prompts, in float32 or better."""
    scores = query @ prompts.key.mT * scaling
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))


def project_prompts(
    attention: nn.Module,
    prompts: Float[Tensor, "K C"],
    gate: Float[Tensor, " H"] | None,
    image_token: Float[Tensor, "B C"] | None = None,
) -> LayerPrompts | PrefixPrompts:
    """Project one layer's prompts to keys and values, through its frozen W_k and W_v.

    Args:
        attention: the layer's frozen attention module.
        gate: tanh(g_l), after its activation; None for rand-init attention.
        image_token: I_p of each example (Eq. 9), zero for a question without an image.
    """
    weight = attention.o_proj.weight
    dtype = weight.dtype if weight.is_floating_point() else attention.config.dtype  # quantised weights are integers
    softcap = getattr(attention, "attn_logit_softcapping", None)
    image_cancels = gate is not None and softcap is None and not hasattr(attention, "k_norm")
    plain = prompts[None].to(dtype)
    source = plain if image_token is None or image_cancels else (prompts + image_token[:, None]).to(dtype)  # Eq. 10
    key = project_keys(attention, source)
    if gate is None:
        return PrefixPrompts(key, _split_heads(attention, attention.v_proj(source)))
    value, image_value = _split_heads(attention, attention.v_proj(plain)), None
    groups = attention.num_key_value_groups  # query heads that share a key/value head
    if image_token is not None:
        projected = attention.v_proj(image_token.to(dtype))
        if attention.v_proj.bias is not None:
            projected = projected - attention.v_proj.bias  # W_v P already carries it
        image_value = _split_heads(attention, projected[:, None]).repeat_interleave(groups, dim=1)
    key, value = (heads.repeat_interleave(groups, dim=1) for heads in (key, value))
    return LayerPrompts(key, value, image_value, gate)


def project_keys(attention: nn.Module, hidden: Float[Tensor, "B T C"]) -> Float[Tensor, "B G T D"]:
    """Compute a frozen layer's keys before their rotation, normalised if the layer does so."""
    keys = _split_heads(attention, attention.k_proj(hidden))
    return attention.k_norm(keys) if hasattr(attention, "k_norm") else keys


def _split_heads(attention: nn.Module, projected: Float[Tensor, "B N GD"]) -> Float[Tensor, "B G N D"]:
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def attach(attention: nn.Module, prompts: AnyPrompts) -> None:
    """Attach prompts to a frozen attention module; None detaches them and restores the frozen model."""
    attention.adaption = prompts  # a tuple is not registered, so it never enters a state dict


def frozen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    softcap: float | None = None,
    **kwargs,  # transformers' own, passed through
) -> Tensor:
    """Compute the layer's own attention, (B, T, H, D): by SDPA, or in its file's eager form if it caps its scores."""
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
    if attention_mask is None and query.shape[2] > 1:  # means causal to SDPA, but full attention to the eager form
        attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    if attention_mask is not None:
        lowest = torch.finfo(query.dtype).min
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill(~attention_mask, lowest)
    eager = sys.modules[type(module).__module__].eager_attention_forward
    return eager(module, query, key, value, attention_mask, softcap=softcap, **kwargs)[0]


def adapted_attention(
    module: nn.Module,
    prompts: AnyPrompts,
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B G S D"],
    value: Float[Tensor, "B G S D"],
    attention_mask: Bool[Tensor, "_ 1 T S"] | None,
    scaling: float,
    softcap: float | None = None,
    **kwargs,
) -> Float[Tensor, "B T H D"]:
    """Compute the frozen layer's attention together with its prompts (Eq. 7)."""
    if isinstance(prompts, RowPrompts):
        output = torch.empty_like(query.transpose(1, 2))
        for rows, part in zip(*prompts, strict=True):
            mask = attention_mask if attention_mask is None or len(attention_mask) == 1 else attention_mask[rows]
            inputs = query[rows], key[rows], value[rows], mask, scaling, softcap
            output[rows] = adapted_attention(module, part, *inputs, **kwargs)
        return output
    if isinstance(prompts, PrefixPrompts):
        key, value, attention_mask = _prepend(prompts, key, value, attention_mask, query.shape[2])
    output = frozen_attention(module, query, key, value, attention_mask, softcap, scaling=scaling, **kwargs)
    if isinstance(prompts, LayerPrompts):
        output = output + prompt_attention(query, prompts, scaling, softcap).transpose(1, 2)
    return output


def _prepend(
    prompts: PrefixPrompts,
    key: Float[Tensor, "B G S D"],
    value: Float[Tensor, "B G S D"],
    visible: Bool[Tensor, "_ 1 T S"] | None,
    tokens: int,
) -> tuple[Float[Tensor, "B G KS D"], Float[Tensor, "B G KS D"], Bool[Tensor, "_ 1 T KS"]]:
    """Put prompts before the words; every query sees all of them."""
    length, words = prompts.key.shape[2], key.shape[2]
    if visible is None:  # causal; a single query is the last token's
        visible = torch.ones(1, 1, tokens, words, dtype=torch.bool, device=key.device).tril(words - tokens)
    key, value = (
        torch.cat([prefix.expand(len(states), -1, -1, -1), states], dim=2)
        for prefix, states in zip(prompts, (key, value), strict=True)
    )
    return key, value, pad(visible, (length, 0), value=True)


def _attention_function(module: nn.Module, *inputs, **kwargs) -> tuple[Tensor, None]:
    return adapted_attention(module, getattr(module, "adaption", None), *inputs, **kwargs), None


AttentionInterface.register(ATTENTION_NAME, _attention_function)
# Without a mask function of the same name, transformers builds no mask at all and silently ignores padding.
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
