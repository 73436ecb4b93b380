"""A frozen language model of which every process holds a part: for models that do not fit on one GPU.

PyTorch's FSDP2 (`fully_shard`), for each matrix by itself: it is gathered from all processes just before it is
multiplied, and given up after that, forward and backward. So whoever calls a linear layer gets the whole matrix, also
outside of its decoder layer's forward, as where prompts are projected (`adapter.attention`) or keys of tokens nobody
reads (`decoder`): no other room knows of it. Norms and biases, a thousandth, are whole everywhere, and so is the
adapter, which every process trains on its share of a batch. The same numbers are multiplied as without: the same bits.

A forward is one of all processes (`processes.in_step`), and none of it may be under `torch.inference_mode`: a
matrix gathered there cannot be used in training.
"""

from __future__ import annotations

import os
from types import MethodType

import torch
from accelerate import PartialState
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError


def shard(llm: LanguageModel, device: torch.device) -> None:
    """Keep this process' part of a language model's matrices, on `device`, and nothing of the others'.

    Args:
        llm: whole, anywhere: on a processor, where one GPU has no room for it.

    Raises:
        UserError: as `check_processes`.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    check_processes(sharded=True)
    mesh, model = init_device_mesh(device.type, (PartialState().num_processes,)), llm.model
    words, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head.weight is words.weight
    if tied:
        model.lm_head = _TiedHead(words)
    for module in tuple(model.modules()):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            vectors = {parameter for parameter in module.parameters() if parameter.ndim == 1}
            fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=vectors)
    if tied:
        register_fsdp_forward_method(words, _AS_HEAD)
    model.to(device)  # norms, biases and tables
    model._is_fsdp_managed_module = True  # for its `generate`: goes on until every process has ended


def check_processes(sharded: bool) -> None:
    """
    Args:
        sharded: whether they are to share a language model.

    Raises:
        UserError: there is one process alone to share it, or accelerate is told to shard.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "false") == "true":
        raise UserError(
            "accelerate's FSDP shards what is trained, a few megabytes here: leave out --use_fsdp; see --shard"
        )
    if sharded and PartialState().num_processes == 1:
        raise UserError(
            "--shard: there is one process, which would hold the whole model\n"
            "  torchrun --nproc-per-node N --no-python mmadapter-train ... starts N, one a GPU"
        )


_AS_HEAD = "as_head"


class _TiedHead(nn.Module):
    """An output head whose matrix is that of the words, and is gathered there."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        setattr(words, _AS_HEAD, MethodType(_logits, words))
        self._words = (words,)  # no module of this one: counted where it is

    def forward(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        return getattr(self._words[0], _AS_HEAD)(hidden)


def _logits(words: nn.Embedding, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
    return linear(hidden, words.weight)
