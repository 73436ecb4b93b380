"""Find the files of a language model by its name."""

from __future__ import annotations

from pathlib import Path

from mmadapter.backbone.smollm2 import FETCH_COMMAND, SMOLLM2_HUB_ID, find_smollm2
from mmadapter.errors import UserError
from mmadapter.storage.hub import hub_folder
from mmadapter.storage.paths import embedded


def pretrained_source(path: Path) -> dict[str, str]:
    """A folder or GGUF file as arguments for transformers' `from_pretrained`."""
    if path.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    return {"pretrained_model_name_or_path": str(path)}


def located(name: str, *, weights: bool = True) -> Path:
    """Find a language model's folder or GGUF file.

    Args:
        name: see `load_llm`.
        weights: False needs only configuration and tokenizer, kilobytes from the hub.

    Raises:
        UserError: nothing there, or no network.
    """
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
