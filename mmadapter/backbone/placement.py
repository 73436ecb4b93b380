"""Load the frozen language model where a run wants it: on a device, sharded over processes, or in main memory."""

from __future__ import annotations

import torch

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import Quantisation, load_llm
from mmadapter.backbone.offloading import offload
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
    """`load_llm`, followed by `shard` or `offload`.

    Raises:
        UserError: as these.
    """
    loaded_on = "cpu" if sharded or offloaded else device
    llm = load_llm(name, device=loaded_on, dtype=dtype, quantise=quantise, compile_layers=compile_layers)
    if sharded:
        shard(llm, device)
    if offloaded:
        offload(llm, device)
    return llm
