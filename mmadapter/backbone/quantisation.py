"""Frozen layers in 8 or 4 bits, by bitsandbytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    BitsAndBytesConfig,
    GgufConfig,
)
from transformers.utils.quantization_config import QuantizationConfigMixin

from mmadapter.backbone.meta_checkpoint import is_meta_folder
from mmadapter.errors import UserError

Quantisation = Literal["none", "8bit", "4bit"]


def quantisation_config(
    name: str, path: Path, quantise: Quantisation, dtype: torch.dtype
) -> QuantizationConfigMixin | None:
    if path.suffix == ".gguf" and quantise == "none":
        return GgufConfig(dequantize=True)  # packed weights compute in float32, at a third of the speed
    if quantise == "none":
        return None
    if path.suffix == ".gguf" or is_meta_folder(path):
        raise UserError(f"--quantise {quantise}: --llm {name}: only weights in safetensors are quantised on loading")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantise {quantise}: needs bitsandbytes: pip install 'mmadapter[quantise]'")
    if quantise == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
