"""Frozen layers compiled by torch.compile."""

from __future__ import annotations

import torch
from transformers import (
    PreTrainedModel,
)

from mmadapter.errors import UserError


def compile_decoder(model: PreTrainedModel) -> None:
    """Have torch.compile fuse the small operations of every decoder layer, at its first forwards.

    Raises:
        UserError: it needs a C++ compiler, and there is none.
    """
    if model.device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise UserError("--compile: torch.compile needs a C++ compiler here, and found none") from error
    # All layers share the compiled forms: with and without prompts, image, mask and gradient. Beyond 8, the default,
    # further ones would not be compiled.
    torch._dynamo.config.recompile_limit = 32
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)
