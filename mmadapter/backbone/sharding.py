"""Shard the frozen language model over processes, for models that do not fit on one GPU.

PyTorch's FSDP2 (`fully_shard`) shards each matrix by itself: it is gathered just before it is multiplied and released
afterwards, forward and backward. So a linear layer works wherever it is called, also outside its decoder layer's
forward (`adapter.attention`, `decoder`). Norms and biases, a thousandth of the whole, are replicated, and so is the
adapter, which each process trains on its share of a batch. The numbers multiplied are the same as without: the same
bits.

All processes take part in every forward (`processes.in_step`). None may run under `torch.inference_mode`: a matrix
gathered there cannot be used in training.
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
    """Keep only this process' part of a language model's matrices, on `device`.

    Args:
        llm: the whole model, on any device.

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
    model._is_fsdp_managed_module = True  # `generate` then goes on until every process has ended


def check_processes(sharded: bool) -> None:
    """Check that the processes can do what they are asked.

    Args:
        sharded: whether they share a language model.

    Raises:
        UserError: a single process would share it, or accelerate is set up to shard.
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
    """An output head that shares the word embedding's matrix, gathered there."""

    def __init__(self, words: nn.Module) -> None:
        super().__init__()
        setattr(words, _AS_HEAD, MethodType(_logits, words))
        self._words = (words,)  # in a tuple: not a submodule, so not counted twice

    def forward(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        return getattr(self._words[0], _AS_HEAD)(hidden)


def _logits(words: nn.Embedding, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
    return linear(hidden, words.weight)
