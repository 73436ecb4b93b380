"""The backbone in PEFT and litgpt, and the batches of their users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaForCausalLM

from benchmarks.workload import Settings, twin
from mmadapter.inference.tokenising import Encoded


def random_batches(asked: Sequence[Encoded], settings: Settings) -> Iterator[list[Encoded]]:
    """Yield random batches like an ordinary data loader."""
    order = np.random.default_rng(settings.seed).permutation(len(asked))
    for start in range(0, len(order), settings.batch):
        yield [asked[index] for index in order[start : start + settings.batch]]


def peft_twin(settings: Settings, model: LlamaForCausalLM) -> torch.nn.Module:
    """Return the backbone under a fresh AdaptionPrompt of PEFT."""
    from peft import AdaptionPromptConfig, get_peft_model

    config = AdaptionPromptConfig(
        adapter_len=settings.adapter_len, adapter_layers=settings.adapter_layers, task_type="CAUSAL_LM"
    )
    torch.manual_seed(settings.seed)
    return get_peft_model(twin(model), config)


def litgpt_twin(settings: Settings, model: LlamaForCausalLM) -> torch.nn.Module:
    """Return litgpt's backbone and adapter; it copies queries, keys and values into one matrix."""
    from litgpt.adapter import GPT, Config, mark_only_adapter_as_trainable
    from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama

    llama = model.config
    config = Config(
        name="benchmark",
        block_size=llama.max_position_embeddings,
        vocab_size=llama.vocab_size,
        padded_vocab_size=llama.vocab_size,
        n_layer=llama.num_hidden_layers,
        n_head=llama.num_attention_heads,
        n_embd=llama.hidden_size,
        intermediate_size=llama.intermediate_size,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=llama.rms_norm_eps,
        mlp_class_name="LLaMAMLP",
        adapter_prompt_length=settings.adapter_len,
        adapter_start_layer=llama.num_hidden_layers - settings.adapter_layers,
    )
    weights: dict[str, Tensor] = {}
    copy_weights_hf_llama(config, {}, weights, model.state_dict())
    torch.manual_seed(settings.seed)
    with torch.device(model.device):
        gpt = GPT(config).to(model.dtype)
    gpt.load_state_dict(weights, strict=False, assign=True)
    mark_only_adapter_as_trainable(gpt)
    return gpt
