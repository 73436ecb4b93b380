"""Zero-init gated attention (arXiv 2303.16199, section 3.2) at the attention seam of transformers.

Axes: B batch, T tokens, C hidden size, H query heads, G key/value heads, D head size, K adapter_len.

With P^v = P + Repeat_K(I_p) (Eq. 10) and linear projections, the image token needs no place in the softmax. It adds the
same q W_k I_p to each of a query's K scores, which a softmax ignores, and, as the K weights sum to 1, exactly W_v I_p
to the output:

    softmax(q (W_k P^v)^T / sqrt(D)) (W_v P^v)  =  softmax(q (W_k P)^T / sqrt(D)) (W_v P)  +  W_v I_p

So the prompts are projected once a batch, the image token once an example, and no query meets it.

Some layers are not linear from a prompt to its score: Qwen3 and Gemma 3 normalise the heads of each key, Gemma 2 caps
the scores, c tanh(score / c). Prompts get the same treatment as words there, and since the softmax then sees every
shift, the keys are those of P^v itself, K of them an example. The values stay linear.

Rand-init attention, the ablation of the paper's Table 5, is the frozen layer's own attention over [P^v; words]: one
softmax, no gate. How much of it goes to the prompts depends on the image, which is in their keys.
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
"""Value of `config._attn_implementation` in an adapted model."""


class LayerPrompts(NamedTuple):
    """What one adapted layer adds to its frozen attention; attached to the layer's attention module."""

    key: Float[Tensor, "P H K D"]
    """W_k P_l, with P = 1. Not rotated: prompts have no position, and every token sees all of them. In a layer that is
    not linear here, norm(W_k P_l^v), with P = B where there are images."""
    value: Float[Tensor, "1 H K D"]
    image_value: Float[Tensor, "B H 1 D"] | None
    """W_v I_p of each example, zero where a question has no image; None without any image."""
    gate: Float[Tensor, " H"]
    """The gate after its activation, tanh(g_l)."""


class PrefixPrompts(NamedTuple):
    """What one layer's attention reads before the words in rand-init attention."""

    key: Float[Tensor, "P G K D"]
    """W_k P_l^v, not rotated; P = B, or P = 1 without images."""
    value: Float[Tensor, "P G K D"]


class RowPrompts(NamedTuple):
    """Prompts of several adapters in one layer, each for its own rows of the batch; every row is in one of them."""

    rows: tuple[Int[Tensor, " _"], ...]
    prompts: tuple[LayerPrompts | PrefixPrompts | None, ...]
    """None: these rows are the frozen model's in this layer."""


AnyPrompts = LayerPrompts | PrefixPrompts | RowPrompts | None


def prompt_attention(
    query: Float[Tensor, "B H T D"], prompts: LayerPrompts, scaling: float, softcap: float | None = None
) -> Float[Tensor, "B H T D"]:
    """The gated term of Eq. 7: what the prompts add to the output of the frozen attention.

    gate * (softmax(scaling * Q P_K^T) P_V + W_v I_p). The two softmaxes of Eq. 7 are independent, so the word term
    stays the frozen layer's and this one is added to it.

    Args:
        query: rotated, as the frozen layer uses it.
        scaling: the frozen layer's; 1 / sqrt(D) in LLaMA.
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
    """The softmax over the prompts, in float32 or better."""
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
    """Project one layer's prompts through its frozen W_k and W_v.

    Args:
        attention: the layer's frozen attention module.
        gate: after its activation; None for rand-init attention.
        image_token: I_p of each example (Eq. 9), zero for a question without an image.
    """
    stored = attention.o_proj.weight.dtype
    dtype = stored if stored.is_floating_point else attention.config.dtype  # quantised weights compute in another
    if gate is None:
        whole = (prompts[None] if image_token is None else prompts + image_token[:, None]).to(dtype)
        return PrefixPrompts(project_keys(attention, whole), _heads(attention, attention.v_proj(whole)))
    shifts_matter = hasattr(attention, "k_norm") or getattr(attention, "attn_logit_softcapping", None) is not None
    keyed = prompts[None] if image_token is None or not shifts_matter else prompts + image_token[:, None]
    key = _repeated(attention, project_keys(attention, keyed.to(dtype)))
    value = _repeated(attention, _heads(attention, attention.v_proj(prompts[None].to(dtype))))
    image_value = None
    if image_token is not None:
        projected = attention.v_proj(image_token.to(dtype))
        if attention.v_proj.bias is not None:
            projected = projected - attention.v_proj.bias  # W_v P already carries it
        image_value = _repeated(attention, _heads(attention, projected[:, None]))
    return LayerPrompts(key, value, image_value, gate)


def project_keys(attention: nn.Module, hidden: Float[Tensor, "B T C"]) -> Float[Tensor, "B G T D"]:
    """A frozen layer's keys before rotation, normalised where the layer does it."""
    keys = _heads(attention, attention.k_proj(hidden))
    return attention.k_norm(keys) if hasattr(attention, "k_norm") else keys


def attach(attention: nn.Module, prompts: AnyPrompts) -> None:
    """Attach prompts to a frozen attention module; None leaves the frozen model."""
    attention.adaption = prompts  # a tuple: not registered, so never in a state dict


def frozen_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    softcap: float | None = None,
    **kwargs,  # transformers' own, passed on untouched
) -> Tensor:
    """The layer's own attention, (B, T, H, D): SDPA, or where it caps its scores the eager form of its own file."""
    if softcap is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
    if attention_mask is None and query.shape[2] > 1:  # SDPA would take it for causal
        attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
    if attention_mask is not None:
        least = torch.finfo(query.dtype).min
        attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill(~attention_mask, least)
    eager = sys.modules[type(module).__module__].eager_attention_forward
    return eager(module, query, key, value, attention_mask, softcap=softcap, **kwargs)[0]


def _heads(attention: nn.Module, projected: Float[Tensor, "B N GD"]) -> Float[Tensor, "B G N D"]:
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def _repeated(attention: nn.Module, heads: Float[Tensor, "B G N D"]) -> Float[Tensor, "B H N D"]:
    """Repeat each key/value head for the query heads that share it."""
    return heads.repeat_interleave(attention.num_key_value_groups, dim=1)


def _adapted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """The frozen layer's attention with the attached prompts, (B, T, H, D)."""
    prompts: AnyPrompts = getattr(module, "adaption", None)
    if not isinstance(prompts, RowPrompts):
        return _prompted(module, prompts, query, key, value, attention_mask, scaling, softcap, **kwargs), None
    output = torch.empty_like(query.transpose(1, 2))
    for rows, own in zip(*prompts, strict=True):
        mask = attention_mask if attention_mask is None or len(attention_mask) == 1 else attention_mask[rows]
        output[rows] = _prompted(module, own, query[rows], key[rows], value[rows], mask, scaling, softcap, **kwargs)
    return output, None


def _prompted(
    module: nn.Module,
    prompts: LayerPrompts | PrefixPrompts | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None,
    **kwargs,
) -> Tensor:
    if isinstance(prompts, PrefixPrompts):
        key, value, attention_mask = _after_prefix(prompts, key, value, attention_mask, query.shape[2])
    output = frozen_attention(module, query, key, value, attention_mask, softcap, scaling=scaling, **kwargs)
    if isinstance(prompts, LayerPrompts):
        output = output + prompt_attention(query, prompts, scaling, softcap).transpose(1, 2)
    return output


def _after_prefix(
    prompts: PrefixPrompts,
    key: Float[Tensor, "B G S D"],
    value: Float[Tensor, "B G S D"],
    visible: Bool[Tensor, "_ 1 T S"] | None,
    tokens: int,
) -> tuple[Float[Tensor, "B G KS D"], Float[Tensor, "B G KS D"], Bool[Tensor, "_ 1 T KS"]]:
    """Keys, values and mask with the prompts in front, which every query sees."""
    key, value = (
        torch.cat([prefix.expand(len(words), -1, -1, -1), words], dim=2)
        for prefix, words in zip(prompts, (key, value), strict=True)
    )
    length = prompts.key.shape[2]
    if visible is None:  # causal; a single query is the last one
        words = key.shape[2] - length
        visible = torch.ones(1, 1, tokens, words, dtype=torch.bool, device=key.device).tril(words - tokens)
    return key, value, pad(visible, (length, 0), value=True)


AttentionInterface.register(ATTENTION_NAME, _adapted_attention)
# Without a mask function of the same name transformers builds no mask and silently ignores padding.
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
