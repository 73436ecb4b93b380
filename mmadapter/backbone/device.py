"""Device, precision, determinism and compilation."""

from __future__ import annotations

import os

import torch
from transformers import (
    PreTrainedModel,
)

from mmadapter.errors import UserError


def use_deterministic_algorithms() -> None:
    """Make this process use only GPU operations that always give the same bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read at the first matrix product
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def resolve_device(name: str) -> torch.device:
    """Resolve a device's name; `auto` is the accelerator if there is one.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {str(error).strip().splitlines()[0]}") from error
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Resolve a precision; `auto` is bfloat16 where the processor computes in it (twice as fast), else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def compile_decoder(model: PreTrainedModel) -> None:
    """Let torch.compile fuse the small operations of every decoder layer, at its first forwards.

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
    # All layers share the compiled forms: with and without prompts, image, mask, gradient. Torch stops at 8.
    torch._dynamo.config.recompile_limit = 32
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)
