"""litgpt's adapter (`lit_model.pth.adapter`): one file of `torch.save`, `{"model": {name: tensor}}`.

    transformer.h.N.attn.adapter_wte.weight    (K, C)
    transformer.h.N.attn.gating_factor         (1, 1, H, 1), in old files (1, H, 1, 1)

The gate has no activation. Its adapter takes the prompts' keys and values from rows of W_q, W_k and W_v interleaved
group by group, but since its pull request 1013 (found in 0.5.13) litgpt stores the three one after the other: adapters
of such versions were trained with rows of all three as keys and values, and no adapter of the formula equals them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mmadapter.adapter.parameters import Adapter
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.interchange.layers import tensors_by_layer, text_adapter

_NAME = re.compile(r"transformer\.h\.(?P<layer>0|[1-9][0-9]{0,3})\.attn\.(?P<kind>adapter_wte\.weight|gating_factor)")


def is_litgpt(tensors: Mapping[str, Tensor]) -> bool:
    return any(map(_NAME.fullmatch, tensors))


def from_litgpt(tensors: Mapping[str, Tensor], llm: LanguageModel, where: str) -> Adapter:
    """Return litgpt's adapter, from the tensors of the file `where`.

    Raises:
        UserError: missing or surplus tensors, or another model's sizes.
    """
    parts = tensors_by_layer(tensors, _NAME, where)
    return text_adapter(parts.get("adapter_wte.weight", {}), parts.get("gating_factor", {}), llm, "identity", where)
