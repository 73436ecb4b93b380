"""Read litgpt's adapter (`lit_model.pth.adapter`): one file of `torch.save`, `{"model": {name: tensor}}`.

    transformer.h.N.attn.adapter_wte.weight    (K, C)
    transformer.h.N.attn.gating_factor         (1, 1, H, 1), in old files (1, H, 1, 1)

The gate has no activation. litgpt once kept the rows of W_q, W_k and W_v group by group, and its adapter still takes
the prompts' keys and values so; since its pull request 1013 the three stand one after the other (found in 0.5.13). An
adapter of such a version was trained with rows of all three as keys and values: no adapter of the formula equals it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmadapter.adapter.parameters import Adapter
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.interchange.layers import refuse_others, text_adapter

_NAME = re.compile(r"transformer\.h\.(0|[1-9][0-9]{0,3})\.attn\.(adapter_wte\.weight|gating_factor)")


def is_litgpt(tensors: Mapping[str, Tensor]) -> bool:
    return any(map(_NAME.fullmatch, tensors))


def from_litgpt(tensors: Mapping[str, Tensor], llm: LanguageModel, where: str) -> Adapter:
    """
    Args:
        where: the file, for messages.

    Raises:
        UserError: missing or surplus tensors, or another model's sizes.
    """
    found = {name: match for name in tensors if (match := _NAME.fullmatch(name))}
    refuse_others(tensors, found, where)
    parts: dict[str, dict[int, Tensor]] = {"adapter_wte.weight": {}, "gating_factor": {}}
    for name, match in found.items():
        parts[match[2]][int(match[1])] = tensors[name]
    return text_adapter(parts["adapter_wte.weight"], parts["gating_factor"], llm, "identity", where)
