"""PEFT's `adaption_prompt`: a folder of `adapter_model.safetensors` and `adapter_config.json`.

    base_model.model.model.layers.N.self_attn.adaption_prompt    (1, K, C)
    base_model.model.model.layers.N.self_attn.adaption_gate      (1,)

All heads of a layer have one gate, without an activation. Models on which PEFT computes something else than the paper's
formula are refused: it adds the bias of an output projection twice.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from mmadapter.adapter.parameters import Adapter
from mmadapter.adapter.weights import read_weights
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError
from mmadapter.interchange.layers import activated, layers_of, tensors_by_layer, text_adapter
from mmadapter.storage.files import write_text, write_whole
from mmadapter.storage.untrusted import MAX_RECORD, read_json_object, short

WEIGHTS, PICKLE, CONFIG = "adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"
_NAME = re.compile(
    r"base_model\.model\.model\.layers\.(?P<layer>0|[1-9][0-9]{0,3})\.self_attn\.(?P<kind>adaption_prompt|adaption_gate)"
)
_FAMILIES = ("llama", "mistral")
"""PEFT also knows GPT-2, which this package does not."""


def base_model(folder: Path) -> str | None:
    """Return the name of the language model in a PEFT adapter's configuration, if it has one.

    Raises:
        UserError: not an adaption prompt.
    """
    name = _config(folder).get("base_model_name_or_path")
    return name if isinstance(name, str) and name else None


def from_peft(folder: Path, llm: LanguageModel) -> Adapter:
    """Return PEFT's adapter.

    Raises:
        UserError: not an adaption prompt, a pickle, missing or surplus tensors, another model's sizes, or a model on
            which PEFT computes something else.
    """
    config, file = _config(folder), folder / WEIGHTS
    _check_model(llm)
    if not file.exists() and (folder / PICKLE).exists():
        raise UserError(
            f"{folder / PICKLE}: is a pickle, and is not loaded, for it could run a program\n"
            f"  PEFT's save_pretrained writes {WEIGHTS} by default"
        )
    parts = tensors_by_layer(read_weights(file), _NAME, str(file))
    prompts = {layer: prompt.squeeze(0) for layer, prompt in parts.get("adaption_prompt", {}).items()}
    adapter = text_adapter(prompts, parts.get("adaption_gate", {}), llm, "identity", str(file))
    for name in ("adapter_len", "adapter_layers"):
        stated, found = config.get(name), getattr(adapter.config, name)
        if stated != found:
            raise UserError(f"{folder / CONFIG}: {name} is {short(stated)}, but {found} in {WEIGHTS}")
    return adapter


def to_peft(adapter: Adapter, llm: LanguageModel, folder: Path) -> None:
    """Write both files.

    Raises:
        UserError: PEFT's format cannot hold exactly this adapter.
    """
    layers, prompts, gates = layers_of(adapter, llm, "PEFT's adaption prompt")
    _check_model(llm)
    tensors: dict[str, Tensor] = {}
    for layer, prompt, gate in zip(layers, prompts, activated(adapter, gates), strict=True):
        if not (gate == gate[0]).all():
            raise UserError(
                f"layer {layer}: its heads have gates from {gate.min():.4g} to {gate.max():.4g}, and PEFT's adaption "
                "prompt has one for all heads of a layer: it would be another adapter"
            )
        name = f"base_model.model.model.layers.{layer}.self_attn"
        tensors |= {f"{name}.adaption_prompt": prompt[None], f"{name}.adaption_gate": gate[:1]}
    data = save({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, {"format": "pt"})
    write_whole(folder / WEIGHTS, lambda part: part.write_bytes(data))
    config = {
        "adapter_layers": len(layers),
        "adapter_len": adapter.config.adapter_len,
        "base_model_name_or_path": llm.name,
        "inference_mode": True,
        "peft_type": "ADAPTION_PROMPT",
        "target_modules": "self_attn",
        "task_type": "CAUSAL_LM",
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _config(folder: Path) -> dict[str, object]:
    path = folder / CONFIG
    config = read_json_object(path, MAX_RECORD)
    if (kind := config.get("peft_type")) != "ADAPTION_PROMPT":
        raise UserError(f"{path}: peft_type is {short(kind)}: only ADAPTION_PROMPT is a LLaMA-Adapter")
    if config.get("target_modules") not in (None, "self_attn"):
        raise UserError(f"{path}: target_modules is {short(config['target_modules'])}: the adapter sits in self_attn")
    return config


def _check_model(llm: LanguageModel) -> None:
    config, attention = llm.model.config, llm.layers[-1].self_attn
    if config.model_type not in _FAMILIES:
        raise UserError(f"{llm.name} is a {config.model_type}: PEFT's adaption prompt knows {' and '.join(_FAMILIES)}")
    if attention.o_proj.bias is not None:
        raise UserError(f"{llm.name}: its output projection has a bias, which PEFT's adaption prompt adds twice")
    if config.num_attention_heads * attention.head_dim != config.hidden_size:
        raise UserError(f"{llm.name}: its heads together are not as wide as the model, which PEFT takes for granted")
