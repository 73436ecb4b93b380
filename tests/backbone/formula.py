"""An adapted decoder of any family, written out plainly: the other truth of `test_families`.

Nothing of transformers is called; of the frozen model only weights, rotary frequencies and settings are read.
Axes: T tokens, C hidden size, H query heads, G key/value heads, D head size, K adapter_len.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu
from transformers import PreTrainedModel


def logits(
    model: PreTrainedModel, tokens: Tensor, prompts: Tensor, gates: Tensor, image_token: Tensor | None
) -> Tensor:
    """Of one sequence, (T, V), in float64.

    Args:
        prompts: (L, K, C) of the topmost L layers.
        gates: (L, H), after the activation.
        image_token: (C,), added to every prompt of every layer (Eq. 10).
    """
    config, weights = model.config, {name: tensor.double() for name, tensor in model.state_dict().items()}
    gemma = config.model_type.startswith("gemma")
    eps = config.rms_norm_eps

    def linear(name: str, x: Tensor) -> Tensor:
        out = x @ weights[f"{name}.weight"].T
        return out + weights[f"{name}.bias"] if f"{name}.bias" in weights else out

    def norm(name: str, x: Tensor) -> Tensor:
        if f"{name}.weight" not in weights:
            return x
        scale = weights[f"{name}.weight"] + (1 if gemma else 0)
        return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * scale

    def capped(x: Tensor, name: str) -> Tensor:
        cap = getattr(config, name, None)
        return x if cap is None else cap * torch.tanh(x / cap)

    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    scale = 1 / math.sqrt(getattr(config, "query_pre_attn_scalar", size))
    positions = torch.arange(len(tokens))
    x = weights["model.embed_tokens.weight"][tokens] * (math.sqrt(config.hidden_size) if gemma else 1)
    first = config.num_hidden_layers - len(prompts)
    for index in range(config.num_hidden_layers):
        layer = f"model.layers.{index}"
        sliding = _slides(config, index)

        def heads(part: str, x: Tensor, layer: str = layer) -> Tensor:
            split = linear(f"{layer}.self_attn.{part}_proj", x).unflatten(-1, (-1, size)).transpose(0, 1)
            split = split if part == "v" else norm(f"{layer}.self_attn.{part}_norm", split)
            return split.repeat_interleave(config.num_attention_heads // len(split), dim=0)  # (H, T, D)

        normed = norm(f"{layer}.input_layernorm", x)
        query, key, value = (heads(part, normed) for part in "qkv")
        if getattr(config, "no_rope_layers", [1] * (index + 1))[index]:
            kind = f"{config.layer_types[index]}_inv_freq" if config.model_type == "gemma3_text" else "inv_freq"
            angles = positions[:, None] * getattr(model.model.rotary_emb, kind).double()
            query, key = _rotated(query, angles), _rotated(key, angles)
        distance = positions[:, None] - positions
        seen = (distance >= 0) & ((distance < config.sliding_window) if sliding else True)
        scores = capped(query @ key.mT * scale, "attn_logit_softcapping")
        out = scores.masked_fill(~seen, -math.inf).softmax(-1) @ value
        if index >= first:
            met = prompts[index - first].double() + (0 if image_token is None else image_token.double())
            scores = capped(query @ heads("k", met).mT * scale, "attn_logit_softcapping")
            out = out + gates[index - first].double()[:, None, None] * (scores.softmax(-1) @ heads("v", met))
        out = linear(f"{layer}.self_attn.o_proj", out.transpose(0, 1).flatten(1))

        sandwich = f"{layer}.pre_feedforward_layernorm.weight" in weights  # Gemma 2 and 3
        x = x + (norm(f"{layer}.post_attention_layernorm", out) if sandwich else out)
        normed = norm(f"{layer}.{'pre_feedforward' if sandwich else 'post_attention'}_layernorm", x)
        gate = linear(f"{layer}.mlp.gate_proj", normed)
        gate = gelu(gate, approximate="tanh") if gemma else silu(gate)
        out = linear(f"{layer}.mlp.down_proj", gate * linear(f"{layer}.mlp.up_proj", normed))
        x = x + (norm(f"{layer}.post_feedforward_layernorm", out) if sandwich else out)
    return capped(linear("lm_head", norm("model.norm", x)), "final_logit_softcapping")


def _slides(config, index: int) -> bool:
    kinds = getattr(config, "layer_types", None)
    return kinds[index] == "sliding_attention" if kinds else getattr(config, "sliding_window", None) is not None


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Components i and i + D/2 are a plane, turned by angle i."""
    left, right = x.chunk(2, dim=-1)
    return torch.cat([left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()], dim=-1)
