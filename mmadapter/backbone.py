"""The frozen language model: found, loaded, and told from another.

The embedded tiny LLaMA, a folder, a GGUF file and a hub id all come through `load_llm`.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from mmadapter.adapter.attention import ATTENTION_NAME
from mmadapter.errors import UserError, printable
from mmadapter.hub import hub_folder
from mmadapter.paths import embedded
from mmadapter.untrusted import read_json_object, short, told
from mmadapter.weights import FETCH_COMMAND, SMOLLM2_HUB_ID, find_smollm2

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
    compile_layers: bool = False,
) -> LanguageModel:
    """Load a frozen decoder of transformers through its own classes.

    Args:
        name: an embedded model (`tiny-llama`), a folder in Hugging Face form, a `.gguf` file (de-quantised), or
            a hub id. `HuggingFaceTB/SmolLM2-135M-Instruct` is taken from where `mmadapter.weights` finds it.
        compile_layers: fuse each layer's small operations with torch.compile, at its first forwards.

    Raises:
        UserError: nothing there, no network, or an architecture the adapter does not know.
    """
    path = _located(name)
    source, unpacked = {"pretrained_model_name_or_path": str(path)}, None
    if path.suffix == ".gguf":
        source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        unpacked = GgufConfig(dequantize=True)  # packed weights compute in float32, at a third of the speed
    transformers_logging.disable_progress_bar()
    with redirect_stderr(StringIO()):  # the GGUF reader draws bars that nothing turns off
        tokenizer = load_tokenizer(name, source)
        with told(f"--llm {name}"):
            config = AutoConfig.from_pretrained(**source, trust_remote_code=False)
            if config.model_type not in FAMILIES:
                raise UserError(
                    f"--llm {name}: unsupported architecture: {config.model_type}\n  these are: {', '.join(FAMILIES)}"
                )
            if config.num_hidden_layers > MAX_LAYERS:  # each takes milliseconds, weights or not
                raise ValueError(f"it claims {config.num_hidden_layers:,} layers, at most {MAX_LAYERS:,} are built")
            model, loading = AutoModelForCausalLM.from_pretrained(
                **source,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                attn_implementation=ATTENTION_NAME,
                quantization_config=unpacked,
                output_loading_info=True,
            )
    if missing := sorted(loading["missing_keys"]):  # transformers would go on with random numbers
        raise UserError(f"--llm {name}: {len(missing)} tensors are missing in its weights: {', '.join(missing[:3])}")
    llm = LanguageModel(model.requires_grad_(False).eval().to(device), tokenizer, name)
    if compile_layers:
        _compile(llm)
    return llm


def _compile(llm: LanguageModel) -> None:
    if llm.model.device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise UserError("--compile: torch.compile needs a C++ compiler here, and found none") from error
    for layer in llm.layers:  # one code for all of them, and for every length
        layer.compile(dynamic=True)


def load_tokenizer(name: str, source: dict[str, str]) -> PreTrainedTokenizerFast:
    """The tokenizer of `load_llm`.

    Args:
        source: of transformers' `from_pretrained`.

    Raises:
        UserError: it cannot be read, or would print what a terminal obeys.
    """
    for file in Path(source["pretrained_model_name_or_path"]).glob("*token*.json"):
        _check_names(file)
    with told(f"--llm {name}"):
        return AutoTokenizer.from_pretrained(**source, trust_remote_code=False)


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


def _located(name: str) -> Path:
    """The folder or GGUF file that a user's name for a language model means."""
    if name == SMOLLM2_HUB_ID and (gguf := find_smollm2()) is not None:
        return gguf
    if (path := Path(name).expanduser()).exists():
        return path
    if (shipped := embedded(name)) is not None:
        return shipped
    if name.endswith(".gguf") or name.count("/") != 1 or name.startswith((".", "~")):
        raise UserError(f"--llm {name}: no such file, folder or embedded model, and no hub id (ORG/NAME)")
    try:
        return hub_folder(name, ["config.json"], [[weights, *_BESIDE_WEIGHTS] for weights in _WEIGHTS])
    except UserError as error:
        hint = f"\n  without a hub, `{FETCH_COMMAND}` fetches this one" if name == SMOLLM2_HUB_ID else ""
        raise UserError(f"--llm {error}{hint}") from error


_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_BESIDE_WEIGHTS = ("model-*.safetensors", "tokenizer*", "special_tokens_map.json", "generation_config.json")
