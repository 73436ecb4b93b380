"""LLaMA as Meta publishes it: a folder with consolidated.00.pth ..., params.json and tokenizer.model.

The model is transformers' LLaMA; only the layout of its weights differs, in two ways:

- in each head of W_q and W_k, neighbouring rows (0, 1), (2, 3), ... form a rotary plane; in transformers they are half
  a head apart: (0, D/2), (1, D/2 + 1), ...;
- large models are sliced: each file holds one GPU's slice of every matrix.
"""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from mmadapter.errors import UserError, require
from mmadapter.storage.pickles import check_pickle
from mmadapter.storage.untrusted import MAX_RECORD, loading_errors, read_json_object

_NAMES = {
    "tok_embeddings": ("model.embed_tokens", None),
    "norm": ("model.norm", None),
    "output": ("lm_head", 0),
    "attention.wq": ("self_attn.q_proj", 0),
    "attention.wk": ("self_attn.k_proj", 0),
    "attention.wv": ("self_attn.v_proj", 0),
    "attention.wo": ("self_attn.o_proj", 1),
    "feed_forward.w1": ("mlp.gate_proj", 0),
    "feed_forward.w2": ("mlp.down_proj", 1),
    "feed_forward.w3": ("mlp.up_proj", 0),
    "attention_norm": ("input_layernorm", None),
    "ffn_norm": ("post_attention_layernorm", None),
}
"""For each tensor, in a layer or outside: its name in transformers, and the axis along which files slice it. None: they
hold copies, or (the embedding) it depends on the model."""

_LLAMA3_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
    *("<|eot_id|>", "<|python_tag|>", *(f"<|reserved_special_token_{number}|>" for number in range(2, 247))),
)
"""The 256 special tokens after those in LLaMA 3's tokenizer.model, which does not list them."""


def is_meta_folder(path: Path) -> bool:
    """Return whether a folder holds a model in Meta's form."""
    return (path / "params.json").is_file() and any(path.glob("consolidated.*.pth"))


def meta_config(folder: Path) -> LlamaConfig:
    """Translate params.json into a configuration of transformers.

    Raises:
        UserError: a parameter is missing or not a number.
    """
    params: dict[str, Any] = read_json_object(folder / "params.json", MAX_RECORD)
    try:
        width, heads = int(params["dim"]), int(params["n_heads"])
        # SwiGLU's 2/3 of 4 * width, rounded up to a multiple below: Meta's llama/model.py
        hidden = int(float(params.get("ffn_dim_multiplier") or 1) * int(8 * width / 3))
        vocabulary = int(params.get("vocab_size", -1))
        if vocabulary < 0:  # LLaMA 1 and 2: only the tokenizer knows
            vocabulary = len(meta_tokenizer(folder))
        rope = {"rope_type": "default", "rope_theta": float(params.get("rope_theta", 10000.0))}
        if params.get("use_scaled_rope"):
            scales = {"factor": "rope_scaling_factor", "high_freq_factor": "rope_high_freq_factor"}
            rope |= {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            rope["original_max_position_embeddings"] = 8192
            rope |= {name: float(params[key]) for name, key in scales.items() if params.get(key) is not None}
        return LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=math.ceil(hidden / int(params["multiple_of"])) * int(params["multiple_of"]),
            num_hidden_layers=int(params["n_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(params.get("n_kv_heads") or heads),
            rms_norm_eps=float(params["norm_eps"]),
            rope_parameters=rope,
            max_position_embeddings=_trained_length(params),
            tie_word_embeddings=False,
        )
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"{folder / 'params.json'}: not the parameters of a LLaMA: {error!r}") from error


def _trained_length(params: dict) -> int:
    """Return the context length of training: not in params.json, but each generation can be told by other numbers."""
    if params.get("use_scaled_rope"):
        return 131072  # LLaMA 3.1
    if float(params.get("rope_theta", 10000.0)) >= 5e5:
        return 8192  # LLaMA 3
    return 4096 if float(params["norm_eps"]) >= 1e-5 else 2048  # LLaMA 2, LLaMA 1


def meta_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Load tokenizer.model, in sentencepiece's or tiktoken's form, from the folder or (LLaMA 1) the folder above.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    files = (place / "tokenizer.model" for place in (folder, folder.parent))
    if (file := next(filter(Path.is_file, files), None)) is None:
        raise UserError(f"{folder}: no tokenizer.model, here or in the folder above")
    tiktoken = _is_tiktoken(file)
    require("tiktoken" if tiktoken else "sentencepiece", extra="meta", what=str(file))
    with loading_errors(str(file)):
        if not tiktoken:
            return LlamaTokenizer.from_pretrained(str(file.parent), add_bos_token=True, add_eos_token=False)
        tokenizer = TikTokenConverter(vocab_file=str(file), extra_special_tokens=_LLAMA3_SPECIAL).converted()
        bos, eos = _LLAMA3_SPECIAL[:2]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)


def _is_tiktoken(file: Path) -> bool:
    """Return whether the first line is a token in base64 and its rank; sentencepiece's form is binary."""
    with file.open("rb") as lines:
        first = lines.readline(256).split()
    try:
        return len(first) == 2 and first[1].isdigit() and bool(base64.b64decode(first[0], validate=True))
    except ValueError:
        return False


def load_meta(folder: Path, config: LlamaConfig, *, dtype: torch.dtype, attention: str) -> LlamaForCausalLM:
    """Load the model on the CPU, never holding more than one matrix twice.

    Raises:
        UserError: a file holds other things than tensors, or tensors that do not fit params.json.
    """
    files = sorted(folder.glob("consolidated.*.pth"))
    shards = []
    for file in files:
        check_pickle(file)
        with loading_errors(str(file)):
            shards.append(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
        if not isinstance(shards[-1], dict) or not all(isinstance(part, Tensor) for part in shards[-1].values()):
            raise UserError(f"{file}: does not hold named tensors")
    if other := [file for file, shard in zip(files, shards, strict=True) if shard.keys() != shards[0].keys()]:
        raise UserError(f"{other[0]}: has other tensors than {files[0].name}: are the files from the same model?")
    with torch.device("meta"):
        model = LlamaForCausalLM._from_config(config, attn_implementation=attention, dtype=dtype)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for key in sorted(key for key in shards[0] if not key.endswith("rope.freqs")):  # a table; LLaMA 1 has one a layer
        name, axis = _name_and_axis(key, folder)
        parts = [shard.pop(key) for shard in shards]
        if key == "tok_embeddings.weight":  # LLaMA 3 slices its rows, the others its columns
            axis = 0 if parts[0].shape[-1] == config.hidden_size else 1
        whole = parts[0] if axis is None or len(parts) == 1 else torch.cat(parts, dim=axis)
        if name not in expected or whole.shape != expected[name]:
            shape = tuple(expected.get(name, ()))
            raise UserError(f"{folder}: {key}: has shape {tuple(whole.shape)}, params.json says {shape or 'none'}")
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            whole = _halves(whole, config.head_dim)
        state[name] = whole.to(dtype).contiguous()
    if missing := sorted(expected.keys() - state.keys()):
        raise UserError(f"{folder}: {len(missing)} tensors are missing in its weights: {', '.join(missing[:3])}")
    model.load_state_dict(state, assign=True)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffer is in no file
    return model


def _name_and_axis(key: str, folder: Path) -> tuple[str, int | None]:
    parts = re.fullmatch(r"(layers\.\d+\.)?(.+)\.weight", key)
    if parts is None or parts[2] not in _NAMES:
        raise UserError(f"{folder}: {key}: not a tensor of a LLaMA")
    name, axis = _NAMES[parts[2]]
    return f"model.{parts[1]}{name}.weight" if parts[1] else f"{name}.weight", axis


def _halves(weight: Tensor, head_dim: int) -> Tensor:
    """Move rows (0, 1), (2, 3), ... of each head to (0, D/2), (1, D/2 + 1), ..."""
    return weight.unflatten(0, (-1, head_dim // 2, 2)).transpose(1, 2).flatten(0, 2)
