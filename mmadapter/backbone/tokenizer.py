"""The tokenizer of a frozen language model, read as untrusted input."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from mmadapter.backbone.location import pretrained_source
from mmadapter.backbone.meta_checkpoint import is_meta_folder, meta_tokenizer
from mmadapter.errors import UserError, printable
from mmadapter.storage.untrusted import loading_errors, read_json_object, short


def load_tokenizer(name: str, path: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a language model.

    Args:
        path: the model's folder or GGUF file.

    Raises:
        UserError: it cannot be read, or would print control characters.
    """
    if is_meta_folder(path):
        return meta_tokenizer(path)
    for file in (path.parent if path.suffix == ".gguf" else path).glob("*token*.json"):
        _check_names(file)
    with loading_errors(f"--llm {name}"):
        tokenizer = AutoTokenizer.from_pretrained(**pretrained_source(path), trust_remote_code=False)
        return _without_added_tokens(tokenizer) if path.suffix == ".gguf" else tokenizer


def _without_added_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Remove the GPT-2 token that transformers adds to a GGUF file's tokenizer; LLaMA 3 has no embedding for it."""
    backend = tokenizer.backend_tokenizer
    size = backend.get_vocab_size(with_added_tokens=False)
    if max(backend.get_added_tokens_decoder(), default=0) >= size:
        written = json.loads(backend.to_str())
        written["added_tokens"] = [token for token in written["added_tokens"] if token["id"] < size]
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(written))
    return tokenizer


def _check_names(file: Path) -> None:
    """Refuse unprintable setting names, which tokenizers would print. Names in a vocabulary are tokens: any text."""
    left: list[object] = [read_json_object(file)]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if odd := [name for name in value if printable(name) != name]:
                raise UserError(f"{file}: the name {short(odd[0])} is not printable")
            left += [inner for name, inner in value.items() if name != "vocab"]
        elif isinstance(value, list):
            left += value
