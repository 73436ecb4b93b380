"""Load a frozen language model: an embedded one, a folder, a GGUF file or a hub id, all through `load_llm`."""

from __future__ import annotations

import copy
import importlib.util
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.device import compile_decoder
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.location import located, pretrained_source
from mmadapter.backbone.meta_checkpoint import is_meta_folder, load_meta, meta_config
from mmadapter.backbone.tokenizer import load_tokenizer
from mmadapter.errors import UserError
from mmadapter.storage.untrusted import MAX_RECORD, loading_errors, read_json_object, short

MAX_DECODER_LAYERS = 1024
"""Most layers that are built; LLaMA-3.1-405B has 126."""

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text")
"""The `model_type`s whose attention and logits the tests check against the paper's formula. Others are refused."""


def load_llm(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    quantise: Quantisation = "none",
    compile_layers: bool = False,
) -> LanguageModel:
    """Load a frozen decoder of transformers through its own classes.

    Args:
        name: an embedded model (`tiny-llama`), a folder in Hugging Face's or in Meta's form, a `.gguf` file
            (de-quantised), or a hub id, ORG/NAME or ORG/NAME@REVISION. `HuggingFaceTB/SmolLM2-135M-Instruct` is
            taken from where `mmadapter.backbone.smollm2` finds it.
        quantise: the weights of all layers in 8 or 4 bits, by bitsandbytes; `dtype` is what they compute in.
        compile_layers: fuse each layer's small operations with torch.compile, at its first forwards.

    Raises:
        UserError: nothing there, no network, an architecture the adapter does not know, or a form of weights that
            cannot be quantised.
    """
    path = located(name)
    transformers_logging.disable_progress_bar()
    with redirect_stderr(StringIO()):  # nothing else silences the GGUF reader's bars
        config, tokenizer = _checked_config(name, path), load_tokenizer(name, path)
        _check_vocabulary(name, tokenizer, config)
        packing = _quantisation_config(name, path, quantise, dtype)
        if is_meta_folder(path):
            model = load_meta(path, config, dtype=dtype, attention=ATTENTION_NAME).to(device)
        else:
            model = _load_weights(name, path, packing, device, dtype)
    llm = LanguageModel(model.requires_grad_(False).eval(), tokenizer, name)
    if compile_layers:
        compile_decoder(llm.model)
    return llm


def _load_weights(
    name: str, path: Path, packing: QuantizationConfigMixin | None, device: str | torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    if pickles := [file.name for file in path.glob("*.bin") if not any(path.glob("*.safetensors"))]:
        raise UserError(
            f"--llm {name}: its weights are pickled ({pickles[0]}), which can run a program, and are not read\n"
            "  where you trust them, load them with transformers, and save_pretrained writes safetensors"
        )
    with loading_errors(f"--llm {name}"):
        model, loading = AutoModelForCausalLM.from_pretrained(
            **pretrained_source(path),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation=ATTENTION_NAME,
            quantization_config=packing,
            device_map={"": torch.device(device)},  # load straight to the device
            output_loading_info=True,
        )
    for module in model.modules():  # else bitsandbytes 0.50 on a CPU packs a layer at its first forward without
        if hasattr(module, "support_avx512bf16_for_cpu"):  # gradient, and no gradient passes it from then on
            module.support_avx512bf16_for_cpu = False
    if missing := sorted(loading["missing_keys"]):  # transformers would use random numbers
        raise UserError(f"--llm {name}: {len(missing)} tensors are missing in its weights: {', '.join(missing[:3])}")
    if surplus := sorted(loading["unexpected_keys"]):  # such as layers beyond a configured depth that is too small
        raise UserError(
            f"--llm {name}: {len(surplus)} tensors of its weights are in no such model: {', '.join(surplus[:3])}\n"
            "  is the config.json beside them their own?"
        )
    return model


def _check_vocabulary(name: str, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> None:
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= config.vocab_size:
        raise UserError(
            f"--llm {name}: its tokenizer has tokens up to {last:,}, its model knows {config.vocab_size:,}: "
            "are they of one model?"
        )


def load_skeleton(name: str) -> LanguageModel:
    """As `load_llm`, without weights: seconds at any size, kilobytes from the hub.

    Raises:
        UserError: nothing there, no network, or an architecture the adapter does not know.
    """
    path = located(name, weights=False)
    with redirect_stderr(StringIO()):
        config, tokenizer = _checked_config(name, path), load_tokenizer(name, path)
        with loading_errors(f"--llm {name}"):
            model = skeleton(config)
    return LanguageModel(model.requires_grad_(False).eval(), tokenizer, name)


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Build the model without its numbers, in seconds at any size."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=ATTENTION_NAME)


def read_config(name: str) -> PreTrainedConfig:
    """Read the configuration of a language model; kilobytes from the hub.

    Raises:
        UserError: nothing there, no network, or an architecture the adapter does not know.
    """
    with redirect_stderr(StringIO()):
        return _checked_config(name, located(name, weights=False))


def _checked_config(name: str, path: Path) -> PreTrainedConfig:
    """Read and check a configuration before anything is built from it."""
    with loading_errors(f"--llm {name}"):
        if is_meta_folder(path):
            config = meta_config(path)
        else:
            if path.suffix != ".gguf":
                written = read_json_object(path / "config.json", MAX_RECORD)
                _check_family(name, written.get("model_type"), own_code="auto_map" in written)
            config = AutoConfig.from_pretrained(**pretrained_source(path), trust_remote_code=False)
        _check_family(name, config.model_type)
        if config.num_hidden_layers > MAX_DECODER_LAYERS:  # each takes milliseconds, weights or not
            raise ValueError(f"it claims {config.num_hidden_layers:,} layers, at most {MAX_DECODER_LAYERS:,} are built")
    return config


def _check_family(name: str, kind: object, *, own_code: bool = False) -> None:
    if kind not in FAMILIES:
        code = ", by code of its own, which is never run" if own_code else ""
        raise UserError(
            f"--llm {name}: unsupported architecture: {short(kind)}{code}\n  these are: {', '.join(FAMILIES)}"
        )


Quantisation = Literal["none", "8bit", "4bit"]


def _quantisation_config(
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
