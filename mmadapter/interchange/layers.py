"""The content that all formats share: prompts and a gate for each of a language model's topmost layers, and no image.

Axes: C hidden size, H query heads, K adapter_len, L adapter_layers of N.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmadapter.adapter.parameters import GATE_ACTIVATIONS, Adapter, AdapterConfig
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError

EXACT = (torch.float32, torch.bfloat16, torch.float16)
"""Dtypes that a float32 adapter holds without rounding."""


def tensors_by_layer(tensors: Mapping[str, Tensor], name: re.Pattern[str], where: str) -> dict[str, dict[int, Tensor]]:
    """Return tensors by their kind and layer, the two groups `kind` and `layer` of the pattern of a name.

    Raises:
        UserError: a tensor with another name.
    """
    found = {key: match for key in tensors if (match := name.fullmatch(key))}
    refuse_others(tensors, found, where)
    kinds: dict[str, dict[int, Tensor]] = {}
    for key, match in found.items():
        kinds.setdefault(match["kind"], {})[int(match["layer"])] = tensors[key]
    return kinds


def text_adapter(
    prompts: Mapping[int, Tensor], gates: Mapping[int, Tensor], llm: LanguageModel, activation: str, where: str
) -> Adapter:
    """Return a text-only adapter.

    Args:
        prompts: by layer of the language model, from 0, (K, C) each.
        gates: by layer, of any shape with H numbers, or 1 for all heads.
        activation: one of `GATE_ACTIVATIONS`.
        where: the file, for messages.

    Raises:
        UserError: not the topmost layers, tensors that do not fit each other or the model, or float32 cannot hold them.
    """
    depth, width, heads = len(llm.layers), llm.model.config.hidden_size, llm.model.config.num_attention_heads
    layers = sorted(prompts)
    if not layers or layers != list(range(depth - len(layers), depth)) or layers != sorted(gates):
        raise UserError(
            f"{where}: has prompts for layers {_listed(prompts)} and gates for layers {_listed(gates)}; {llm.name} has "
            f"{depth} layers (0 to {depth - 1}), and the topmost ones are adapted\n  does it belong to this model?"
        )
    for kind, tensors in (("prompts", prompts), ("gate", gates)):
        for layer, tensor in sorted(tensors.items()):
            if tensor.dtype not in EXACT or tensor.layout != torch.strided or tensor.is_meta:
                raise UserError(f"{where}: layer {layer}: its {kind} are {tensor.dtype}, not float32 or half")
    length: int = next(iter(prompts[layers[0]].shape), 0)
    for layer in layers:
        if prompts[layer].shape != (length, width) or not length:
            raise UserError(
                f"{where}: layer {layer}: its prompts have shape {tuple(prompts[layer].shape)}; on {llm.name} it is "
                f"(K, {width}), with one K for all layers\n  does it belong to this model?"
            )
        if gates[layer].numel() not in (1, heads):
            raise UserError(
                f"{where}: layer {layer}: {gates[layer].numel()} gates; {llm.name} has {heads} heads\n"
                "  does it belong to this model?"
            )
    stacked = {
        "prompts": torch.stack([prompts[layer].float() for layer in layers]),
        "gates": torch.stack([gates[layer].float().flatten().expand(heads) for layer in layers]),
    }
    if wrong := [name for name, tensor in stacked.items() if not tensor.isfinite().all()]:
        raise UserError(f"{where}: its {wrong[0]} hold what is no finite number")
    sizes = {"hidden_size": width, "num_heads": heads, "adapter_len": length, "adapter_layers": len(layers)}
    with torch.device("meta"):
        adapter = Adapter(AdapterConfig(**sizes, gate_activation=activation))
    adapter.load_state_dict(stacked, assign=True)
    return adapter


def layers_of(
    adapter: Adapter, llm: LanguageModel, kind: str
) -> tuple[range, Float[Tensor, "L K C"], Float[Tensor, "L H"]]:
    """Return the adapted layers' numbers, their prompts and their gates before the activation.

    Raises:
        UserError: the format `kind` has no place for this adapter.
    """
    if not adapter.text_only:
        raise UserError(f"this adapter reads images, and {kind} has no place for its projection: it stays mmadapter's")
    if adapter.gates is None:
        raise UserError(f"this adapter has no gates (rand-init attention), and {kind} has no other attention")
    depth = len(llm.layers)
    return range(depth - adapter.config.adapter_layers, depth), adapter.prompts.detach(), adapter.gates.detach()


def activated(adapter: Adapter, gates: Tensor) -> Tensor:
    """Return gates after the adapter's activation."""
    return GATE_ACTIVATIONS[adapter.config.gate_activation](gates)


def refuse_others(names: Iterable[str], expected: Iterable[str], where: str, hint: str = "") -> None:
    """Raise a UserError that names missing and surplus tensors."""
    names, expected = set(names), set(expected)
    for kind, these in (("missing", expected - names), ("surplus", names - expected)):
        if these:
            some = ", ".join(name[:60] for name in sorted(these)[:3])
            raise UserError(f"{where}: {len(these)} tensors are {kind}: {some}{hint}")


def _listed(layers: Iterable[int]) -> str:
    layers = sorted(layers)
    return ", ".join(map(str, layers if len(layers) < 6 else [*layers[:2], "...", layers[-1]])) or "none"
