"""The frozen decoder in parts, so that nothing is computed that nobody reads.

Axes: B batch, T tokens, W positions read in a row, R positions read in all, C hidden size, D head size.

Below the first adapted layer nothing trains: `hidden_below` gives what enters it, which never changes. From there
`hidden_at` goes on to the positions that are read; its last layer computes keys and values of every token, but
queries, output projection and MLP only of those positions. Both are the decoder's own forward with some of its
layers left out or wrapped: no modelling file is copied.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from mmadapter.adapter.attention import attach, project_keys


def hidden_below(
    decoder: PreTrainedModel, count: int, input_ids: Int[Tensor, "B T"], **inputs: Tensor | None
) -> Float[Tensor, "B T C"]:
    """What enters layer `count` (from 0): the embedding and the `count` layers below.

    Args:
        inputs: `position_ids` and `attention_mask`, as the decoder takes them.
    """
    with torch.no_grad():
        part = _with_layers(decoder, decoder.layers[:count], slice(0, count), norm=False)
        return part(input_ids=input_ids, use_cache=False, **inputs).last_hidden_state


def hidden_at(
    decoder: PreTrainedModel,
    first: int,
    hidden: Float[Tensor, "B T C"],
    read: tuple[Int[Tensor, " R"], Int[Tensor, " R"]],
    *,
    checkpointing: bool = False,
    **inputs: Tensor | None,
) -> Float[Tensor, "R C"]:
    """From what enters layer `first` to the decoder's normed output at the positions that are read.

    Args:
        read: rows (ascending) and columns of `hidden`.
        checkpointing: keep only what enters a layer; the backward pass computes the rest once more.
        inputs: `position_ids` and `attention_mask`, as the decoder takes them.
    """
    rows, columns = read[0], read[1] % hidden.shape[1]
    layers = list(decoder.layers[first:])
    per_row = torch.bincount(rows, minlength=len(hidden))
    place = torch.arange(len(rows), device=rows.device) - (per_row.cumsum(0) - per_row)[rows]
    table = columns.new_zeros(len(hidden), int(per_row.max()))
    table[rows, place] = columns
    layers[-1], columns = _ReadLayer(layers[-1], table), place
    if checkpointing:
        layers = [*map(_Recomputed, layers[:-1]), layers[-1]]  # the last one is the first to be used, and small
    part = _with_layers(decoder, layers, slice(first, None), norm=True)
    return part(inputs_embeds=hidden, use_cache=False, **inputs).last_hidden_state[rows, columns]


def _with_layers(decoder: PreTrainedModel, layers: Iterable[nn.Module], which: slice, *, norm: bool) -> PreTrainedModel:
    """A view of the decoder, sharing its weights, that runs these layers alone."""
    part = copy.copy(decoder)
    part.config = copy.copy(decoder.config)
    part._modules = {**decoder._modules, "layers": nn.ModuleList(layers)}
    part.config.num_hidden_layers = len(part.layers)
    if getattr(part.config, "layer_types", None) is not None:
        part.config.layer_types = decoder.config.layer_types[which]
    if not norm:
        part._modules["norm"] = nn.Identity()
    return part


class _ReadLayer(nn.Module):
    """A decoder layer that reads every token and is itself computed at the columns of `table` alone.

    Where a row reads fewer positions than another its rest is column 0, and nobody looks at it.
    """

    def __init__(self, layer: nn.Module, table: Int[Tensor, "B W"]) -> None:
        super().__init__()
        self.layer, self.table = layer, table

    def forward(
        self,
        hidden: Float[Tensor, "B T C"],
        *,
        attention_mask: Tensor | None,
        position_ids: Int[Tensor, "_ T"],
        position_embeddings: tuple[Tensor, Tensor],
        **inputs: object,
    ) -> Float[Tensor, "B W C"]:
        attention = self.layer.self_attn
        normed = self.layer.input_layernorm(hidden)
        key = project_keys(attention, normed)
        value = attention.v_proj(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
        if getattr(attention, "use_rope", True):  # SmolLM3 has layers without
            rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
            key = rotate(key[:, :1], key, *position_embeddings)[1]

        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        if attention_mask is None:  # the causal kernel's
            seen = torch.arange(hidden.shape[1], device=hidden.device) <= self.table[..., None]
            attention_mask = seen[:, None]
        else:
            attention_mask = attention_mask[rows, :, self.table].transpose(1, 2)
        (cache,) = _CACHE & inputs.keys()
        inputs |= {
            "attention_mask": attention_mask,
            "position_ids": position_ids.expand(len(hidden), -1).gather(1, self.table),
            "position_embeddings": tuple(x.expand(len(hidden), -1, -1)[rows, self.table] for x in position_embeddings),
            cache: _Projected(key, value),
        }
        return self.layer(hidden[rows, self.table], **inputs)


class _Recomputed(nn.Module):
    """A decoder layer of which only the input is kept; with the prompts of its forward, whatever hangs there later."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Float[Tensor, "B T C"], **inputs: object) -> Float[Tensor, "B T C"]:
        attention = self.layer.self_attn
        prompts = getattr(attention, "adaption", None)

        def run(hidden: Tensor) -> Tensor:
            now = getattr(attention, "adaption", None)
            attach(attention, prompts)
            try:
                return self.layer(hidden, **inputs)
            finally:
                attach(attention, now)

        return checkpoint(run, hidden, use_reentrant=False, preserve_rng_state=False)


_CACHE = {"past_key_values", "cache"}
"""The cache's name in a decoder layer: the second from transformers 5.24 on."""


class _Projected:
    """In a cache's place: keys and values of all tokens, whatever the tokens that are computed would add."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.key, self.value = key, value

    def update(self, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        return self.key, self.value
