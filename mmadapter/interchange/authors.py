"""The format of the authors' released adapters: one `.pth` file of tensors by name.

    adapter_query.weight        (L * K, C)      the prompts of the topmost L layers, the lowest layer first
    layers.N.attention.gate     (1, H, 1, 1)    of every layer, 0 below the topmost L; in their first version (1,)

Their training code multiplies the prompts' attention by tanh(gate), their inference code (`llama/model.py`) by the gate
itself, and the file does not say which one it is for. Nor does it give K, which is 10 in all released files.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmadapter.adapter.parameters import Adapter
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError
from mmadapter.interchange.layers import activated, layers_of, refuse_others, text_adapter

PROMPTS, GATE = "adapter_query.weight", "layers.{}.attention.gate"
ADAPTER_LEN = 10
"""K of all released files."""


def is_authors(tensors: Mapping[str, Tensor]) -> bool:
    return PROMPTS in tensors


def from_authors(
    tensors: Mapping[str, Tensor], llm: LanguageModel, length: int, activation: str, where: str
) -> Adapter:
    """Return the authors' adapter, from the tensors of the file `where`.

    Args:
        length: K.
        activation: tanh or identity, as in the code that the adapter was trained or released for.

    Raises:
        UserError: missing or surplus tensors, another model's sizes, or gates where `length` leaves no prompts.
    """
    depth, query = len(llm.layers), tensors[PROMPTS]
    hint = (
        f"\n  {llm.name} has {depth} layers, and the authors write a gate for each. LLaMA-Adapter V2 is another method"
    )
    refuse_others(tensors, [PROMPTS, *map(GATE.format, range(depth))], where, hint)
    if query.ndim != 2 or query.shape[0] % length or not 1 <= query.shape[0] // length <= depth:
        raise UserError(
            f"{where}: {PROMPTS} has shape {tuple(query.shape)}: not {length} prompts for each of 1 to {depth} layers\n"
            "  --adapter-len says how many prompts a layer has"
        )
    first = depth - query.shape[0] // length
    gates = [tensors[GATE.format(layer)] for layer in range(depth)]
    if used := [layer for layer in range(first) if gates[layer].numel() != 0 and gates[layer].any()]:
        raise UserError(
            f"{where}: layer {used[0]} has a gate that is not 0, but with {length} prompts a layer it has none\n"
            "  --adapter-len says how many prompts a layer has"
        )
    prompts = dict(zip(range(first, depth), query.split(length), strict=True))
    return text_adapter(prompts, {layer: gates[layer] for layer in prompts}, llm, activation, where)


def to_authors(adapter: Adapter, llm: LanguageModel, activation: str | None) -> dict[str, Tensor]:
    """Return the tensors of an authors' file.

    Args:
        activation: tanh or identity, as in the code that will read the file; None for the adapter's own.

    Raises:
        UserError: the format has no place for this adapter, or its gates would be rounded.
    """
    layers, prompts, gates = layers_of(adapter, llm, "the authors' layout")
    if (family := llm.model.config.model_type) != "llama":
        raise UserError(f"{llm.name} is a {family}: the authors' code knows LLaMA alone")
    if activation not in (None, adapter.config.gate_activation):
        if activation != "identity":
            raise UserError("its gates have no activation: gates for tanh would be rounded\n  leave out --gate")
        gates = activated(adapter, gates)
    tensors = {GATE.format(layer): torch.zeros(1, gates.shape[1], 1, 1) for layer in range(len(llm.layers))}
    tensors |= {GATE.format(layer): gate[None, :, None, None] for layer, gate in zip(layers, gates, strict=True)}
    return tensors | {PROMPTS: prompts.flatten(0, 1)}
