"""A language model without its weights: what it takes to know whether an adapter belongs to it."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.backbone import MAX_LAYERS, LanguageModel, _located, load_tokenizer
from mmadapter.untrusted import told


def load_skeleton(name: str) -> LanguageModel:
    """As `load_llm`, with weights on the meta device: in seconds, at any size.

    Raises:
        UserError: nothing there, no network, or a damaged configuration.
    """
    path = _located(name)
    source = {"pretrained_model_name_or_path": str(path)}
    if path.suffix == ".gguf":
        source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    tokenizer = load_tokenizer(name, source)
    with told(f"--llm {name}"):
        config = AutoConfig.from_pretrained(**source, trust_remote_code=False)
        if config.num_hidden_layers > MAX_LAYERS:
            raise ValueError(f"it claims {config.num_hidden_layers:,} layers, at most {MAX_LAYERS:,} are built")
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION_NAME)
    return LanguageModel(model.requires_grad_(False).eval(), tokenizer, name)
