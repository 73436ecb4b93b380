"""The content that all formats share: prompts and a gate for each of the topmost layers, and no image.

Axes: C hidden size, H query heads, K adapter_len, L adapter_layers of N.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from mmadapter.adapter.parameters import GATE_ACTIVATIONS, Adapter, AdapterConfig
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError

EXACT = (torch.float32, torch.bfloat16, torch.float16)
"""Precisions that float32 holds without rounding."""


def text_adapter(
    prompts: Mapping[int, Tensor], gates: Mapping[int, Tensor], llm: LanguageModel, activation: str, where: str
) -> Adapter:
    """Build a text-only adapter from layers by their number in the language model, from 0.

    Args:
        prompts: (K, C) each.
        gates: of any shape with H numbers, or 1 for all heads.
        activation: of the gates, one of `GATE_ACTIVATIONS`.
        where: the file, for messages.

    Raises:
        UserError: not the topmost layers, tensors that do not fit each other or the language model, or numbers that
            float32 cannot hold.
    """
    depth, config = len(llm.layers), llm.model.config
    width, heads = config.hidden_size, config.num_attention_heads
    layers = sorted(prompts)
    if not layers or layers != list(range(depth - len(layers), depth)) or layers != sorted(gates):
        raise UserError(
            f"{where}: has prompts for layers {_told(prompts)} and gates for layers {_told(gates)}; {llm.name} has "
            f"{depth} layers (0 to {depth - 1}), and the topmost ones are adapted\n  does it belong to this model?"
        )
    for name, of in (("prompts", prompts), ("gate", gates)):
        for layer in layers:
            if of[layer].dtype not in EXACT or of[layer].layout != torch.strided or of[layer].is_meta:
                raise UserError(f"{where}: layer {layer}: its {name} are {of[layer].dtype}, not float32 or half")
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
    tensors = {
        "prompts": torch.stack([prompts[layer].float() for layer in layers]),
        "gates": torch.stack([gates[layer].float().flatten().expand(heads) for layer in layers]),
    }
    if wrong := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise UserError(f"{where}: its {wrong[0]} hold what is no finite number")
    with torch.device("meta"):
        adapter = Adapter(
            AdapterConfig(
                hidden_size=width,
                num_heads=heads,
                adapter_len=length,
                adapter_layers=len(layers),
                gate_activation=activation,
            )
        )
    adapter.load_state_dict(tensors, assign=True)
    return adapter


def layers_of(
    adapter: Adapter, llm: LanguageModel, kind: str
) -> tuple[range, Float[Tensor, "L K C"], Float[Tensor, "L H"]]:
    """The numbers of the adapted layers, with their stored prompts and gates.

    Args:
        kind: the format's name, for messages.

    Raises:
        UserError: it has what `kind` has no place for.
    """
    if not adapter.text_only:
        raise UserError(f"this adapter reads images, and {kind} has no place for its projection: it stays mmadapter's")
    if adapter.gates is None:
        raise UserError(f"this adapter has no gates (rand-init attention), and {kind} has no other attention")
    depth = len(llm.layers)
    return range(depth - adapter.config.adapter_layers, depth), adapter.prompts.detach(), adapter.gates.detach()


def activated(adapter: Adapter, gates: Tensor) -> Tensor:
    """The gates after their activation."""
    return GATE_ACTIVATIONS[adapter.config.gate_activation](gates)


def refuse_others(names: Iterable[str], own: Iterable[str], where: str, hint: str = "") -> None:
    """
    Raises:
        UserError: some tensors are missing or surplus.
    """
    names, own = set(names), set(own)
    for kind, these in (("missing", own - names), ("surplus", names - own)):
        if these:
            some = ", ".join(name[:60] for name in sorted(these)[:3])
            raise UserError(f"{where}: {len(these)} tensors are {kind}: {some}{hint}")


def _told(layers: Iterable[int]) -> str:
    layers = sorted(layers)
    return ", ".join(map(str, layers if len(layers) < 6 else [*layers[:2], "...", layers[-1]])) or "none"
