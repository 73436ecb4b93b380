"""The frozen language model: found, loaded, and told from another.

The embedded tiny LLaMA, folders, GGUF files and hub ids all come through `load_llm`.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.errors import UserError, printable
from mmadapter.hub import hub_folder
from mmadapter.meta import is_meta_folder, load_meta, meta_config, meta_tokenizer
from mmadapter.paths import embedded
from mmadapter.untrusted import MAX_RECORD, read_json_object, short, told
from mmadapter.weights import FETCH_COMMAND, SMOLLM2_HUB_ID, find_smollm2

Quantise = Literal["none", "8bit", "4bit"]

MAX_LAYERS = 1024
"""Of a language model; LLaMA-3.1-405B has 126."""

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text")
"""The `model_type`s on which the tests (tests/backbones) show the paper's formula; others compute attention or logits
in ways that nobody has checked, and are refused."""

_ARCHITECTURE = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "head_dim"),
    *("num_key_value_heads", "vocab_size", "hidden_act", "rms_norm_eps", "rope_theta", "rope_parameters"),
    *("tie_word_embeddings", "attention_bias", "layer_types", "sliding_window", "no_rope_layers"),
    *("query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping"),
)
"""The fields of a configuration that decide what an adapter was trained on."""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen decoder and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    """What the user called it: a hub id, a folder, a GGUF file or an embedded model."""

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers, the first one first."""
        return self.model.get_decoder().layers

    def logits(self, hidden: Float[Tensor, "*R C"]) -> Float[Tensor, "*R V"]:
        """Of the decoder's normed output; within the bound of a model that has one, +-final_logit_softcapping."""
        logits = self.model.get_output_embeddings()(hidden)
        bound = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if bound is None else (logits / bound).tanh() * bound

    @property
    def fingerprint(self) -> str:
        """Hash of the configuration and the vocabulary: what tells whether an adapter fits."""
        config = self.model.config.to_dict()
        known = {name: config[name] for name in _ARCHITECTURE if config.get(name) is not None}
        vocabulary = sorted(self.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps([known, vocabulary], sort_keys=True).encode()).hexdigest()[:16]

    @property
    def bos(self) -> list[int]:
        """The tokens that this model's own tokenizer puts before a text: [bos] or nothing."""
        first = self.tokenizer("a").input_ids[:1]
        return first if first == [self.tokenizer.bos_token_id] else []


def load_llm(
    name: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    quantise: Quantise = "none",
    compile_layers: bool = False,
) -> LanguageModel:
    """Load a frozen decoder of transformers through its own classes.

    Args:
        name: an embedded model (`tiny-llama`), a folder in Hugging Face's or in Meta's form, a `.gguf` file
            (de-quantised), or a hub id, ORG/NAME or ORG/NAME@REVISION. `HuggingFaceTB/SmolLM2-135M-Instruct` is
            taken from where `mmadapter.weights` finds it.
        quantise: the weights of all layers in 8 or 4 bits, by bitsandbytes; `dtype` is what they compute in.
        compile_layers: fuse each layer's small operations with torch.compile, at its first forwards.

    Raises:
        UserError: nothing there, no network, an architecture the adapter does not know, or a form of weights that
            cannot be quantised.
    """
    path = _located(name)
    transformers_logging.disable_progress_bar()
    with redirect_stderr(StringIO()):  # the GGUF reader draws bars that nothing turns off
        config, tokenizer = _config(name, path), load_tokenizer(name, path)
        _check_vocabulary(name, tokenizer, config)
        packing = _packing(name, path, quantise, dtype)
        if is_meta_folder(path):
            model = load_meta(path, config, dtype=dtype, attention=ATTENTION_NAME).to(device)
        else:
            model = _load_weights(name, path, packing, device, dtype)
    llm = LanguageModel(model.requires_grad_(False).eval(), tokenizer, name)
    if compile_layers:
        fuse(llm.model)
    return llm


def _load_weights(
    name: str, path: Path, packing: QuantizationConfigMixin | None, device: str | torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    if pickles := [file.name for file in path.glob("*.bin") if not any(path.glob("*.safetensors"))]:
        raise UserError(
            f"--llm {name}: its weights are pickled ({pickles[0]}), which can run a program, and are not read\n"
            "  where you trust them, load them with transformers, and save_pretrained writes safetensors"
        )
    with told(f"--llm {name}"):
        model, loading = AutoModelForCausalLM.from_pretrained(
            **_source(path),
            trust_remote_code=False,
            use_safetensors=True,
            dtype=dtype,
            attn_implementation=ATTENTION_NAME,
            quantization_config=packing,
            device_map={"": torch.device(device)},  # straight to where it stays
            output_loading_info=True,
        )
    for module in model.modules():  # else bitsandbytes packs a layer at its first forward without a gradient, and
        if hasattr(module, "support_avx512bf16_for_cpu"):  # none passes it from then on (0.50, on a processor)
            module.support_avx512bf16_for_cpu = False
    if missing := sorted(loading["missing_keys"]):  # transformers would go on with random numbers
        raise UserError(f"--llm {name}: {len(missing)} tensors are missing in its weights: {', '.join(missing[:3])}")
    if surplus := sorted(loading["unexpected_keys"]):  # such as the layers beyond a depth that is too small
        raise UserError(
            f"--llm {name}: {len(surplus)} tensors of its weights are in no such model: {', '.join(surplus[:3])}\n"
            "  is the config.json beside them their own?"
        )
    return model


def _packing(name: str, path: Path, quantise: Quantise, dtype: torch.dtype) -> QuantizationConfigMixin | None:
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


def _check_vocabulary(name: str, tokenizer: PreTrainedTokenizerFast, config: PreTrainedConfig) -> None:
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= config.vocab_size:
        raise UserError(
            f"--llm {name}: its tokenizer has tokens up to {last:,}, its model knows {config.vocab_size:,}: "
            "are they of one model?"
        )


def load_skeleton(name: str) -> LanguageModel:
    """As `load_llm`, without weights: at any size in seconds, and from the hub in kilobytes.

    Raises:
        UserError: nothing there, no network, or an architecture the adapter does not know.
    """
    path = _located(name, weights=False)
    with redirect_stderr(StringIO()):
        config, tokenizer = _config(name, path), load_tokenizer(name, path)
        with told(f"--llm {name}"):
            model = skeleton(config)
    return LanguageModel(model.requires_grad_(False).eval(), tokenizer, name)


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without its numbers, in seconds at any size."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), attn_implementation=ATTENTION_NAME)


def _source(path: Path) -> dict[str, str]:
    """A folder or GGUF file, as transformers' `from_pretrained` takes it."""
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path)}


def read_config(name: str) -> PreTrainedConfig:
    """The configuration of a language model; from a hub in kilobytes.

    Raises:
        UserError: nothing there, no network, or an architecture the adapter does not know.
    """
    with redirect_stderr(StringIO()):
        return _config(name, _located(name, weights=False))


def _config(name: str, path: Path) -> PreTrainedConfig:
    """Checked, before anything is built of it."""
    with told(f"--llm {name}"):
        if is_meta_folder(path):
            config = meta_config(path)
        else:
            if path.suffix != ".gguf":
                written = read_json_object(path / "config.json", MAX_RECORD)
                _check_family(name, written.get("model_type"), own_code="auto_map" in written)
            config = AutoConfig.from_pretrained(**_source(path), trust_remote_code=False)
        _check_family(name, config.model_type)
        if config.num_hidden_layers > MAX_LAYERS:  # each takes milliseconds, weights or not
            raise ValueError(f"it claims {config.num_hidden_layers:,} layers, at most {MAX_LAYERS:,} are built")
    return config


def _check_family(name: str, kind: object, *, own_code: bool = False) -> None:
    if kind not in FAMILIES:
        code = ", by code of its own, which is never run" if own_code else ""
        raise UserError(
            f"--llm {name}: unsupported architecture: {short(kind)}{code}\n  these are: {', '.join(FAMILIES)}"
        )


def fuse(model: PreTrainedModel) -> None:
    """Have torch.compile fuse the small operations of every decoder layer, at its first forwards.

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
    # All layers share the compiled forms: with and without prompts, image, mask and gradient. Beyond 8, the default,
    # further ones would not be compiled.
    torch._dynamo.config.recompile_limit = 32
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)


def load_tokenizer(name: str, path: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of `load_llm`.

    Args:
        path: the model's folder or GGUF file.

    Raises:
        UserError: it cannot be read, or would print what a terminal obeys.
    """
    if is_meta_folder(path):
        return meta_tokenizer(path)
    for file in (path.parent if path.suffix == ".gguf" else path).glob("*token*.json"):
        _check_names(file)
    with told(f"--llm {name}"):
        tokenizer = AutoTokenizer.from_pretrained(**_source(path), trust_remote_code=False)
        return _of_file_alone(tokenizer) if path.suffix == ".gguf" else tokenizer


def _of_file_alone(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """To the tokenizer of a GGUF file transformers adds GPT-2's end of text, which LLaMA 3 has no embedding for."""
    backend = tokenizer.backend_tokenizer
    size = backend.get_vocab_size(with_added_tokens=False)
    if max(backend.get_added_tokens_decoder(), default=0) >= size:
        written = json.loads(backend.to_str())
        written["added_tokens"] = [token for token in written["added_tokens"] if token["id"] < size]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(written))
    return tokenizer


def _check_names(file: Path) -> None:
    """Refuses names of settings that are not printable: tokenizers prints those that it does not know.

    Names of a vocabulary are its tokens, and any text.
    """
    left: list[object] = [read_json_object(file)]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if odd := [name for name in value if printable(name) != name]:
                raise UserError(f"{file}: the name {short(odd[0])} is not printable")
            left += [inner for name, inner in value.items() if name != "vocab"]
        elif isinstance(value, list):
            left += value


def be_deterministic() -> None:
    """From here on this process takes those forms of a GPU's operations that always give the same bits."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrices are multiplied
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def resolve_device(name: str) -> torch.device:
    """`auto` is the accelerator, where there is one.

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
    """`auto` is bfloat16 where the processor computes in it (half the time on a recent CPU), else float32."""
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _located(name: str, *, weights: bool = True) -> Path:
    """The folder or GGUF file that a user's name for a language model means; from a hub also without its weights."""
    if name == SMOLLM2_HUB_ID and (gguf := find_smollm2()) is not None:
        return gguf
    if (path := Path(name).expanduser()).exists():
        return path
    if (shipped := embedded(name)) is not None:
        return shipped
    if name.endswith(".gguf") or name.partition("@")[0].count("/") != 1 or name.startswith((".", "~")):
        raise UserError(f"--llm {name}: no such file, folder or embedded model, and no hub id (ORG/NAME)")
    try:
        forms, beside = (_WEIGHTS, _BESIDE_WEIGHTS) if weights else (_TOKENIZERS, _WORDS)
        return hub_folder(name, ["config.json"], [[file, *beside] for file in forms])
    except UserError as error:
        hint = f"\n  without a hub, `{FETCH_COMMAND}` fetches this one" if name == SMOLLM2_HUB_ID else ""
        raise UserError(f"--llm {error}{hint}") from error


_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_WORDS = ("tokenizer*", "special_tokens_map.json")
_BESIDE_WEIGHTS = ("model-*.safetensors", *_WORDS, "generation_config.json")
