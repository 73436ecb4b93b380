"""The frozen language model, loaded: the embedded tiny LLaMA, a folder, a GGUF file or a hub id, by `load_llm`."""

from __future__ import annotations

import copy
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.meta_checkpoint import is_meta_folder, load_meta
from mmadapter.backbone.model_files import checked_config, find_model, load_tokenizer, pretrained_source, weights_key
from mmadapter.backbone.placement import Quantisation, compile_decoder, offload, quantisation_config, shard
from mmadapter.errors import UserError
from mmadapter.storage.untrusted import loading_errors


def load_llm(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    quantise: Quantisation = "none",
    compile_layers: bool = False,
    sharded: bool = False,
    offloaded: bool = False,
) -> LanguageModel:
    """Load a frozen decoder with transformers' own classes.

    Args:
        name: an embedded model (`tiny-llama`), a folder in Hugging Face's or Meta's form, a `.gguf` file, or a hub id,
            ORG/NAME or ORG/NAME@REVISION. For `HuggingFaceTB/SmolLM2-135M-Instruct`, a copy that
            `mmadapter.backbone.smollm2` finds on this machine comes first.
        quantise: hold the layers' weights in 8 or 4 bits, by bitsandbytes; they compute in `dtype`.
        compile_layers: see `compile_decoder`.
        sharded: see `shard`.
        offloaded: see `offload`.

    Raises:
        UserError: no such model, no network, an unsupported architecture, weights that cannot be quantised, or as
            `compile_decoder` and `shard`.
    """
    path, device = find_model(name), torch.device(device)
    load_device = torch.device("cpu") if sharded or offloaded else device
    transformers_logging.disable_progress_bar()
    with redirect_stderr(StringIO()):  # the GGUF reader's progress bars cannot be turned off
        config, tokenizer = checked_config(name, path), load_tokenizer(name, path)
        last = max(tokenizer.get_vocab().values(), default=-1)
        if last >= config.vocab_size:
            raise UserError(
                f"--llm {name}: its tokenizer has tokens up to {last:,}, its model knows {config.vocab_size:,}: "
                "are they from the same model?"
            )
        packing = quantisation_config(name, path, quantise, dtype)
        if is_meta_folder(path):
            model = load_meta(path, config, dtype=dtype, attention=ATTENTION_NAME).to(load_device)
        else:
            model = _load_weights(name, path, packing, load_device, dtype)
    llm = LanguageModel(model.requires_grad_(False).eval(), tokenizer, name, weights_key(path))
    if compile_layers:
        compile_decoder(llm.model)
    if sharded:
        shard(llm, device)
    if offloaded:
        offload(llm, device)
    return llm


def _load_weights(
    name: str, path: Path, packing: QuantizationConfigMixin | None, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    if pickles := [file.name for file in path.glob("*.bin") if not any(path.glob("*.safetensors"))]:
        raise UserError(
            f"--llm {name}: its weights are pickled ({pickles[0]}), which can run a program, and are not read\n"
            "  if you trust them, load them with transformers: its save_pretrained writes safetensors"
        )
    with loading_errors(f"--llm {name}"):
        model, report = AutoModelForCausalLM.from_pretrained(
            **pretrained_source(path),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation=ATTENTION_NAME,
            quantization_config=packing,
            device_map={"": device},  # each tensor straight to the device
            output_loading_info=True,
        )
    for module in model.modules():  # otherwise bitsandbytes (0.50, on a CPU) repacks a layer at its first forward
        if hasattr(module, "support_avx512bf16_for_cpu"):  # without gradients, and then none ever passes through it
            module.support_avx512bf16_for_cpu = False
    if missing := sorted(report["missing_keys"]):  # transformers would fill them with random numbers
        raise UserError(f"--llm {name}: {len(missing)} tensors are missing in its weights: {', '.join(missing[:3])}")
    if surplus := sorted(report["unexpected_keys"]):  # such as the layers above a depth that is too small
        raise UserError(
            f"--llm {name}: {len(surplus)} tensors of its weights have no place in the model: {', '.join(surplus[:3])}"
            "\n  is the config.json beside them their own?"
        )
    return model


def load_skeleton(name: str) -> LanguageModel:
    """Load a language model without its weights, in seconds at any size; raises as `load_llm`."""
    path = find_model(name, weights=False)
    with redirect_stderr(StringIO()):
        config, tokenizer = checked_config(name, path), load_tokenizer(name, path)
        with loading_errors(f"--llm {name}"):
            return LanguageModel(skeleton(config).requires_grad_(False).eval(), tokenizer, name)


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """Build a model on the meta device: its structure without its numbers."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=ATTENTION_NAME)


def read_config(name: str) -> PreTrainedConfig:
    """Read the configuration of a language model, a few kilobytes from a hub; raises as `load_llm`."""
    with redirect_stderr(StringIO()):
        return checked_config(name, find_model(name, weights=False))
