"""The frozen language model where a run wants it: on its device, in parts among processes, or in main memory."""

from __future__ import annotations

import torch

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_llm
from mmadapter.backbone.offloading import offload
from mmadapter.backbone.quantisation import Quantisation
from mmadapter.backbone.sharding import shard


def load_placed(
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    *,
    quantise: Quantisation = "none",
    compile_layers: bool = False,
    sharded: bool = False,
    offloaded: bool = False,
) -> LanguageModel:
    """`load_llm`, and then `shard` or `offload` of what was loaded into main memory for it.

    Raises:
        UserError: as these.
    """
    held = "cpu" if sharded or offloaded else device
    llm = load_llm(name, device=held, dtype=dtype, quantise=quantise, compile_layers=compile_layers)
    if sharded:
        shard(llm, device)
    if offloaded:
        offload(llm, device)
    return llm
