"""Device, precision and determinism of a computation."""

from __future__ import annotations

import os

import torch

from mmadapter.errors import UserError


def use_deterministic_algorithms() -> None:
    """From now on, use only GPU operations that always give the same bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at the first product
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def resolve_device(name: str) -> torch.device:
    """Return the named device; `auto` is the accelerator if there is one, else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {str(error).strip().splitlines()[0]}") from error
    return torch.device(name)


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the named dtype; `auto` is bfloat16 if the hardware computes in it (on recent CPUs twice as fast), else
    float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32
