"""A LLaMA as a GGUF file, in the form in which llama.cpp's converter writes it."""

import functools
from pathlib import Path

import gguf
import numpy as np
from tokenizers import pre_tokenizers
from transformers import LlamaForCausalLM

MERGES = ("t h", "th e")
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers.": "blk.",
    "self_attn.o_proj": "attn_output",
    "self_attn.": "attn_",
    "post_attention_layernorm": "ffn_norm",
    "input_layernorm": "attn_norm",
    "mlp.": "ffn_",
    "_proj": "",
}


def write_gguf(path: Path, model: LlamaForCausalLM, *, packed: bool = False) -> dict[str, np.ndarray]:
    """Returns what a reader has to find, by name in transformers.

    Args:
        packed: matrices in 8 bits (Q8_0), else everything in float32.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
    special = ["<s>", "</s>", "<pad>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens + special)
    writer.add_token_types([gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * len(special))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(len(tokens))
    writer.add_eos_token_id(len(tokens) + 1)
    writer.add_pad_token_id(len(tokens) + 2)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = {}
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        part = name.split(".")[-2]
        order = _neighbours(len(weight), heads[part]) if part in heads else np.arange(len(weight))
        stored, kind = weight[order], gguf.GGMLQuantizationType.F32
        if packed and weight.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            stored = gguf.quants.quantize(stored, kind)
        there = functools.reduce(lambda text, pair: text.replace(*pair), NAMES.items(), name)
        writer.add_tensor(there, stored, raw_dtype=kind)
        found[name] = np.empty_like(weight)
        found[name][order] = gguf.quants.dequantize(stored, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def _neighbours(rows: int, heads: int) -> np.ndarray:
    """Rows of a query's or key's projection, so that the two of a rotary plane stand side by side."""
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)
