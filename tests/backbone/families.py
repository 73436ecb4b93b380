"""A tiny configuration of every family, and of what tells its members apart; weights are random."""

import copy
import functools
import tempfile
from pathlib import Path

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_llm
from tests.backbone.gguf_file import write_gguf
from tests.tiny import VOCABULARY, byte_tokenizer

LAYERS, HEADS, WINDOW = 4, 6, 5
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 56,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": None,  # else its embedding is 0, and a family's default lies outside of this vocabulary
}
LLAMA3_ROPE = {
    **{"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 16,
}
GEMMA = {**SHAPE, "head_dim": 14, "query_pre_attn_scalar": 11}  # C = 48 is not H D = 84, and D is not the scale
GGUF = "llama from a GGUF file"
ALTERNATING = ["sliding_attention", "full_attention"] * 2

CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "llama 1": LlamaConfig(**SHAPE | {"num_key_value_heads": HEADS}),
    GGUF: LlamaConfig(**SHAPE),
    "llama with biases": LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "llama 3": LlamaConfig(**SHAPE, rope_parameters=LLAMA3_ROPE),
    "smollm2": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "mistral": MistralConfig(**SHAPE, sliding_window=None),
    "mistral with a window": MistralConfig(**SHAPE, sliding_window=WINDOW, head_dim=14),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen2, upper layers with a window": Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2
    ),
    "qwen3": Qwen3Config(**SHAPE, head_dim=14),
    "smollm3": SmolLM3Config(**SHAPE, no_rope_layers=[1, 0, 1, 0]),
    "gemma": GemmaConfig(**SHAPE, head_dim=14),
    "gemma2": Gemma2Config(
        **GEMMA, sliding_window=WINDOW, layer_types=ALTERNATING, attn_logit_softcapping=1.5, final_logit_softcapping=3.0
    ),
    "gemma3": Gemma3TextConfig(**GEMMA, sliding_window=WINDOW, layer_types=ALTERNATING),
}


def random_model(config: PreTrainedConfig, attention: str = "eager") -> PreTrainedModel:
    """With no parameter at 0 or 1, where transformers starts biases and norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=attention)
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                nn.init.normal_(weight, 0.0 if name.endswith("bias") else 0.5, 0.3)
    return model.eval().requires_grad_(False)


@functools.cache
def loaded(family: str) -> LanguageModel:
    """Through a folder, or a file, in the form in which such models are published."""
    with tempfile.TemporaryDirectory() as folder:
        if family == GGUF:
            path = Path(folder, "model.gguf")
            write_gguf(path, random_model(CONFIGS[family]))
            return load_llm(str(path))
        random_model(CONFIGS[family]).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        return load_llm(folder)
