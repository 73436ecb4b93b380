"""A frozen language model whose layers' matrices stay in main memory: for one GPU that they do not fit.

Each is copied to the GPU just before it is multiplied and given up after that, so that whoever calls a linear layer
gets the whole matrix, also outside of its decoder layer's forward (`adapter.attention`, `decoder`). Norms and biases,
a thousandth, stay on the GPU; accelerate's own hooks take biases away as well, which `adapter.attention` reads.

The backward pass multiplies by the same matrices. Those that a forward leaves to it stay on the GPU until then, unless
it computes the layer once more: `--checkpointing`, of all adapted layers but the last one. The keys' and values'
matrices of adapted layers stay in any case, for the prompts went through them.
"""

from __future__ import annotations

import torch
from torch import nn

from mmadapter.backbone.language_model import LanguageModel


def offload(llm: LanguageModel, device: torch.device) -> None:
    """Keep the layers' matrices of a language model in main memory, where they are, and all else on `device`."""
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
