"""The files of a language model: where they are, and its configuration and tokenizer, checked as untrusted input.

Nothing here builds a model: what passes is safe for `loading` to build.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from mmadapter.backbone.meta_checkpoint import is_meta_folder, meta_config, meta_tokenizer
from mmadapter.backbone.smollm2 import FETCH_COMMAND, SMOLLM2_HUB_ID, find_smollm2
from mmadapter.errors import UserError, printable
from mmadapter.storage.hub import hub_folder
from mmadapter.storage.paths import embedded
from mmadapter.storage.untrusted import MAX_RECORD, loading_errors, read_json_object, short

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2", "gemma3_text")
"""The `model_type`s for which tests/backbone checks the paper's formula. Others may compute attention or logits
differently, and are refused."""
MAX_DECODER_LAYERS = 1024
"""Most layers of a language model; LLaMA-3.1-405B has 126."""

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_BESIDE_WEIGHTS = ("model-*.safetensors", "tokenizer*", "special_tokens_map.json", "generation_config.json")
_WEIGHT_FILES = ("*.safetensors", "consolidated.*.pth")
_BLOCKS, _BLOCK = 64, 1 << 16
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_BESIDE_TOKENIZER = ("tokenizer*", "special_tokens_map.json")


def find_model(name: str, *, weights: bool = True) -> Path:
    """Return the folder or GGUF file that a user's name for a language model stands for.

    Args:
        weights: False downloads only the configuration and the tokenizer from a hub.

    Raises:
        UserError: nothing has that name, or as `hub_folder`.
    """
    if name == SMOLLM2_HUB_ID and (gguf := find_smollm2()) is not None:
        return gguf
    if (path := Path(name).expanduser()).exists():
        return path
    if (shipped := embedded(name)) is not None:
        return shipped
    if name.endswith(".gguf") or name.partition("@")[0].count("/") != 1 or name.startswith((".", "~")):
        raise UserError(f"--llm {name}: no such file, folder or embedded model, and no hub id (ORG/NAME)")
    forms, beside = (_WEIGHTS, _BESIDE_WEIGHTS) if weights else (_TOKENIZERS, _BESIDE_TOKENIZER)
    try:
        return hub_folder(name, ["config.json"], [[file, *beside] for file in forms])
    except UserError as error:
        hint = f"\n  without a hub, `{FETCH_COMMAND}` fetches this one" if name == SMOLLM2_HUB_ID else ""
        raise UserError(f"--llm {error}{hint}") from error


def pretrained_source(path: Path) -> dict[str, str]:
    """Return the arguments by which transformers' `from_pretrained` finds a folder or GGUF file."""
    gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    return {"pretrained_model_name_or_path": str(path.parent if gguf else path), **gguf}


def checked_config(name: str, path: Path) -> PreTrainedConfig:
    """Read a model's configuration.

    Raises:
        UserError: it cannot be read, its architecture is not one of `FAMILIES`, or it has too many layers.
    """
    with loading_errors(f"--llm {name}"):
        if is_meta_folder(path):
            config = meta_config(path)
        else:
            if path.suffix != ".gguf":
                written = read_json_object(path / "config.json", MAX_RECORD)
                _check_family(name, written.get("model_type"), own_code="auto_map" in written)
            config = AutoConfig.from_pretrained(**pretrained_source(path), trust_remote_code=False)
        _check_family(name, config.model_type)
        if config.num_hidden_layers > MAX_DECODER_LAYERS:  # each takes milliseconds to build, even without weights
            raise ValueError(f"it claims {config.num_hidden_layers:,} layers; at most {MAX_DECODER_LAYERS:,} are built")
    return config


def _check_family(name: str, family: object, *, own_code: bool = False) -> None:
    if family not in FAMILIES:
        code = ", with code of its own, which is never run" if own_code else ""
        raise UserError(
            f"--llm {name}: unsupported architecture: {short(family)}{code}\n  supported: {', '.join(FAMILIES)}"
        )


def load_tokenizer(name: str, path: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of the model at `path`, a folder or a GGUF file.

    Raises:
        UserError: it cannot be read, or a name in it holds control characters.
    """
    if is_meta_folder(path):
        return meta_tokenizer(path)
    is_gguf = path.suffix == ".gguf"
    for file in (path.parent if is_gguf else path).glob("*token*.json"):
        _check_names(file)
    with loading_errors(f"--llm {name}"):
        tokenizer = AutoTokenizer.from_pretrained(**pretrained_source(path), trust_remote_code=False)
        return _without_surplus_tokens(tokenizer) if is_gguf else tokenizer


def _without_surplus_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Drop GPT-2's end of text, which transformers adds to a GGUF file's tokens: LLaMA 3 has no embedding for it."""
    backend = tokenizer.backend_tokenizer
    size = backend.get_vocab_size(with_added_tokens=False)
    if max(backend.get_added_tokens_decoder(), default=0) >= size:
        content = json.loads(backend.to_str())
        content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < size]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))
    return tokenizer


def _check_names(file: Path) -> None:
    """Refuse setting names with control characters, because tokenizers prints the names it does not know.

    The names in a vocabulary are its tokens, which may be any text.
    """
    pending: list[object] = [read_json_object(file)]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if odd := [name for name in value if printable(name) != name]:
                raise UserError(f"{file}: the name {short(odd[0])} is not printable")
            pending += [inner for name, inner in value.items() if name != "vocab"]
        elif isinstance(value, list):
            pending += value


def weights_key(path: Path) -> str:
    """Return what tells these weights from others: the files' common name and a hash of sampled blocks.

    The 4-bit GGUF of a model and its float weights are two models. Reading 64 blocks of 64 KiB of each file takes
    milliseconds at any size. It tells models apart; a single changed byte it may miss.

    Args:
        path: a folder or a GGUF file, from `find_model`.
    """
    files = [path] if path.is_file() else sorted(file for kind in _WEIGHT_FILES for file in path.glob(kind))
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{size}\n".encode())
        with file.open("rb") as stream:
            for block in range(_BLOCKS):
                stream.seek(block * size // _BLOCKS)
                digest.update(stream.read(_BLOCK))
    name = files[0].name if len(files) == 1 else f"{len(files)} files"
    return f"{name} {digest.hexdigest()[:12]}"
