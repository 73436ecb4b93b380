"""The frozen decoder in two parts, each computing only what is needed.

Axes: B batch, T tokens, W positions read in a row, R positions read in all, C hidden size, D head size.

`hidden_below` runs the layers below the first adapted one, where nothing trains: its result never changes.
`hidden_at` continues from there to the positions whose logits are read. Its last layer computes keys and values for
every token, but queries, output projection and MLP only for those positions. Both are the decoder's own forward with
some layers left out or wrapped: no modelling file is copied.
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
    """Return what enters layer `count` (from 0): the output of the embedding and the `count` layers below.

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
    """Return the decoder's normed output at the positions read, given what enters layer `first`.

    Args:
        read: rows (ascending) and columns of `hidden`.
        checkpointing: keep only the input of each layer; the backward pass recomputes the rest.
        inputs: `position_ids` and `attention_mask`, as the decoder takes them.
    """
    rows, columns = read[0], read[1] % hidden.shape[1]
    per_row = torch.bincount(rows, minlength=len(hidden))
    place = torch.arange(len(rows), device=rows.device) - (per_row.cumsum(0) - per_row)[rows]
    table = columns.new_zeros(len(hidden), int(per_row.max()))
    table[rows, place] = columns
    *lower, last = decoder.layers[first:]
    if checkpointing:
        lower = list(map(_Recomputed, lower))  # not the last layer: it is small, and the backward pass needs it first
    part = _with_layers(decoder, [*lower, _ReadLayer(last, table)], slice(first, None), norm=True)
    return part(inputs_embeds=hidden, use_cache=False, **inputs).last_hidden_state[rows, place]


def _with_layers(decoder: PreTrainedModel, layers: Iterable[nn.Module], which: slice, *, norm: bool) -> PreTrainedModel:
    """Return a view of the decoder that shares its weights and runs only these layers."""
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
    """A decoder layer that attends to every token and computes its output only at the columns in `table`.

    Rows with fewer positions than the longest are filled up with column 0, whose output is ignored.
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
        if getattr(attention, "use_rope", True):  # some layers of SmolLM3 have none
            rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb
            key = rotate(key[:, :1], key, *position_embeddings)[1]

        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        if attention_mask is None:  # causal
            attention_mask = (torch.arange(hidden.shape[1], device=hidden.device) <= self.table[..., None])[:, None]
        else:
            attention_mask = attention_mask[rows, :, self.table].transpose(1, 2)
        (cache,) = _CACHE & inputs.keys()
        inputs |= {
            "attention_mask": attention_mask,
            "position_ids": position_ids.expand(len(hidden), -1).gather(1, self.table),
            "position_embeddings": tuple(x.expand(len(hidden), -1, -1)[rows, self.table] for x in position_embeddings),
            cache: _FixedCache(key, value),
        }
        return self.layer(hidden[rows, self.table], **inputs)


class _Recomputed(nn.Module):
    """A checkpointed decoder layer; it is recomputed with the prompts of its forward, whatever is attached by then."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Float[Tensor, "B T C"], **inputs: object) -> Float[Tensor, "B T C"]:
        attention = self.layer.self_attn
        prompts = getattr(attention, "adaption", None)

        def run(hidden: Tensor) -> Tensor:
            attached = getattr(attention, "adaption", None)
            attach(attention, prompts)
            try:
                return self.layer(hidden, **inputs)
            finally:
                attach(attention, attached)

        return checkpoint(run, hidden, use_reentrant=False, preserve_rng_state=False)


_CACHE = {"past_key_values", "cache"}
"""Name of the cache among a decoder layer's arguments; the second from transformers 5.24 on."""


class _FixedCache:
    """Stands in for a cache: always returns the keys and values of all tokens and ignores updates."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.key, self.value = key, value

    def update(self, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        return self.key, self.value
