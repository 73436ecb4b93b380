"""Zero-init gated attention (arXiv 2303.16199, section 3.2) at the attention seam of transformers.

Axes: B batch, T tokens, C hidden size, H query heads, G key/value heads, D head size, K adapter_len.

With P^v = P + Repeat_K(I_p) (Eq. 10) and linear projections, the image token needs no place in the softmax:
it adds the same q W_k I_p to each of the K scores of a query, which a softmax does not see, and, the K weights
summing to 1, exactly W_v I_p to its output:

    softmax(q (W_k P^v)^T / sqrt(D)) (W_v P^v)  =  softmax(q (W_k P)^T / sqrt(D)) (W_v P)  +  W_v I_p

So the prompts are projected once a batch, the image token once an example, and no query ever meets it.
"""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mmadapter.errors import UserError

ATTENTION_NAME = "mmadapter"
"""What an adapted model's `config._attn_implementation` says."""


class LayerPrompts(NamedTuple):
    """What one adapted layer adds to its frozen attention; it hangs on the layer's attention module."""

    key: Float[Tensor, "1 H K D"]
    """W_k P_l: not rotated, for prompts have no position and every token sees them all."""
    value: Float[Tensor, "1 H K D"]
    image_value: Float[Tensor, "B H 1 D"] | None
    """W_v I_p of each example, zero where a question has no image; None without any image."""
    gate: Float[Tensor, " H"]
    """The gate after its activation, tanh(g_l)."""


def prompt_attention(
    query: Float[Tensor, "B H T D"], prompts: LayerPrompts, scaling: float
) -> Float[Tensor, "B H T D"]:
    """What the adaption prompts add to the output of the frozen attention (the gated term of Eq. 7).

    gate * (softmax(scaling * Q P_K^T) P_V + W_v I_p). The two softmaxes of Eq. 7 are independent, so the word
    term stays the frozen layer's and this one is added to it.

    Args:
        query: rotated by RoPE, as the frozen layer uses it.
        scaling: 1 / sqrt(D) in LLaMA; the frozen layer's own.
    """
    batch = query.shape[0]
    context = scaled_dot_product_attention(
        query,
        prompts.key.expand(batch, -1, -1, -1),
        prompts.value.expand(batch, -1, -1, -1),
        scale=scaling,
    )
    if prompts.image_value is not None:
        context = context + prompts.image_value
    return prompts.gate.to(query.dtype)[:, None, None] * context


def project_prompts(
    attention: nn.Module,
    prompts: Float[Tensor, "K C"],
    gate: Float[Tensor, " H"],
    image_token: Float[Tensor, "B C"] | None = None,
) -> LayerPrompts:
    """Keys and values of one layer's prompts through its frozen W_k and W_v.

    Args:
        attention: the layer's frozen attention module.
        gate: after its activation.
        image_token: I_p of each example (Eq. 9), zero for a question without an image.
    """
    dtype = attention.o_proj.weight.dtype
    key = _heads(attention, attention.k_proj(prompts.to(dtype)))
    value = _heads(attention, attention.v_proj(prompts.to(dtype)))
    image_value = None
    if image_token is not None:
        projected = attention.v_proj(image_token.to(dtype))
        if attention.v_proj.bias is not None:
            projected = projected - attention.v_proj.bias  # W_v P already carries it
        image_value = _heads(attention, projected).transpose(0, 2)
    return LayerPrompts(key, value, image_value, gate)


def attach(attention: nn.Module, prompts: LayerPrompts | None) -> None:
    """Hang `prompts` on a frozen attention module; None takes them off and leaves the frozen model."""
    attention.adaption = prompts  # a tuple: not registered, so never in a state dict


def check_attention(attention: nn.Module) -> None:
    """Refuse an attention that the formula above does not cover.

    Raises:
        UserError: no separate key and value projections, or keys normalised after the projection.
    """
    name = type(attention).__name__
    if not all(isinstance(getattr(attention, part, None), nn.Module) for part in ("k_proj", "v_proj", "o_proj")):
        raise UserError(f"{name}: unsupported architecture: it has no separate k_proj, v_proj and o_proj")
    if hasattr(attention, "k_norm"):
        raise UserError(f"{name}: unsupported architecture: it normalises keys after their projection")


def _heads(attention: nn.Module, projected: Float[Tensor, "N GD"]) -> Float[Tensor, "1 H N D"]:
    """Split into heads, each key/value head repeated for the query heads that share it."""
    heads = projected.unflatten(-1, (-1, attention.head_dim)).transpose(0, 1)
    return heads.repeat_interleave(attention.num_key_value_groups, dim=0)[None]


def _adapted_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs,  # transformers' own, handed on untouched
) -> tuple[Tensor, None]:
    """The frozen layer's SDPA, plus the prompts where some are attached. Returns (B, T, H, D)."""
    output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    prompts: LayerPrompts | None = getattr(module, "adaption", None)
    if prompts is not None:
        scale = module.scaling if scaling is None else scaling
        output = output + prompt_attention(query, prompts, scale).transpose(1, 2)
    return output, None


AttentionInterface.register(ATTENTION_NAME, _adapted_attention)
# Without a mask function of the same name transformers builds no mask at all, and padding is ignored in silence.
AttentionMaskInterface.register(ATTENTION_NAME, sdpa_mask)
