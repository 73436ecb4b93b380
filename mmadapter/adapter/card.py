"""The README of an adapter's folder, with the hub's metadata in its first lines."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import ModelCardData

from mmadapter.adapter.parameters import Adapter
from mmadapter.errors import printable

_OPENING = """---
{metadata}
---

# {title}

An adapter of {parameters:,} trained parameters on the frozen {llm}{image}, {made}
mmadapter, an independent implementation of LLaMA-Adapter (arXiv 2303.16199).
"""

_USE = """
{layers} layers have {length} adaption prompts each.

## Use

```python
import mmadapter as mma

model = mma.MultimodalAdapter.from_pretrained("FOLDER")  # or ORG/NAME on the hub
```
"""


def adapter_card(adapter: Adapter, llm: str, clip: str | None) -> str:
    """Write the card of an adapter without known results."""
    config = adapter.config
    use = _USE.format(layers=config.adapter_layers, length=config.adapter_len)
    return opening(adapter, llm, clip, made="in the format of") + use


def opening(adapter: Adapter, llm: str, clip: str | None, *, made: str = "trained with") -> str:
    """Write the opening of every card.

    Args:
        llm: the frozen language model's name.
        clip: the image tower's; None for a text-only adapter.
    """
    base = llm.partition("@")[0]
    metadata = ModelCardData(
        library_name="mmadapter",
        base_model=base if is_hub_id(base) else None,
        tags=["llama-adapter", "text-only" if clip is None else "multimodal"],
    )
    return _OPENING.format(
        metadata=metadata.to_yaml(),
        title="LLaMA-Adapter, text-only" if clip is None else "LLaMA-Adapter, multimodal",
        parameters=sum(parameter.numel() for parameter in adapter.parameters()),
        llm=code(llm),
        image="" if clip is None else f" with the frozen image tower {code(clip)}",
        made=made,
    )


def is_hub_id(name: str) -> bool:
    """Whether a name looks like ORG/NAME and no folder has it."""
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name, re.ASCII)) and not Path(name).exists()


def code(name: str) -> str:
    """Quote a name as Markdown code, so that no Markdown or HTML in it takes effect."""
    marks = fence(name, 1)
    room = " " if "`" in name else ""
    return f"{marks}{room}{printable(name)}{room}{marks}"


def fence(text: str, least: int) -> str:
    """More backticks than the longest run in a text, so that nothing in it ends the code."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])
