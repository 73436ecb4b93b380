"""Keep the frozen layers' matrices in main memory, for a GPU that cannot hold them.

Each matrix is copied to the GPU just before it is multiplied and released afterwards, so a linear layer works wherever
it is called, also outside its decoder layer's forward (`adapter.attention`, `decoder`). Norms and biases, a thousandth
of the whole, stay on the GPU: `adapter.attention` reads biases, which accelerate's own hooks would take away.

A matrix that the backward pass needs stays on the GPU until then, unless the pass recomputes its layer
(`--checkpointing`). The key and value matrices of adapted layers always stay: the prompts went through them.
"""

from __future__ import annotations

import torch
from torch import nn

from mmadapter.backbone.language_model import LanguageModel


def offload(llm: LanguageModel, device: torch.device) -> None:
    """Leave the layers' matrices in main memory, and move all else to `device`."""
    away = {module for module in llm.layers.modules() if isinstance(module, nn.Linear)}
    for module in llm.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if module not in away or name != "weight":
                parameter.data = parameter.data.to(device)
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, buffer.to(device))
    for module in away:
        _fetch_when_used(module, device)


def _fetch_when_used(linear: nn.Linear, device: torch.device) -> None:
    stored = linear.weight.data.pin_memory() if device.type == "cuda" else linear.weight.data
    nothing = nn.Parameter(torch.empty_like(stored, device="meta"), requires_grad=False)

    def fetch(module: nn.Module, inputs: object) -> None:
        module.weight = nn.Parameter(stored.to(device, non_blocking=True), requires_grad=False)

    def give_up(module: nn.Module, inputs: object, output: object) -> None:
        module.weight = nothing

    linear.weight = nothing
    linear.register_forward_pre_hook(fetch)
    linear.register_forward_hook(give_up, always_call=True)
