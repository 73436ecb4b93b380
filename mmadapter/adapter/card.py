"""The README in an adapter's folder: metadata for the hub, then for people what the adapter is and how to load it."""

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
    """Return the card of an adapter without known results."""
    use = _USE.format(layers=adapter.config.adapter_layers, length=adapter.config.adapter_len)
    return opening(adapter, llm, clip, made="in the format of") + use


def opening(adapter: Adapter, llm: str, clip: str | None, *, made: str = "trained with") -> str:
    """Return the beginning of every card.

    Args:
        llm: name of the frozen language model.
        clip: name of the image tower; None for a text-only adapter.
    """
    base, kind = llm.partition("@")[0], "text-only" if clip is None else "multimodal"
    on_hub = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", base, re.ASCII) and not Path(base).exists()
    metadata = ModelCardData(
        library_name="mmadapter",
        base_model=base if on_hub else None,
        tags=["llama-adapter", kind],
    )
    return _OPENING.format(
        metadata=metadata.to_yaml(),
        title=f"LLaMA-Adapter, {kind}",
        parameters=sum(parameter.numel() for parameter in adapter.parameters()),
        llm=code(llm),
        image="" if clip is None else f" with the frozen image tower {code(clip)}",
        made=made,
    )


def code(name: str) -> str:
    """Return a name as inline code, shown literally whatever Markdown or HTML it holds."""
    marks, space = fence(name, 1), " " if "`" in name else ""
    return f"{marks}{space}{printable(name)}{space}{marks}"


def fence(text: str, least: int) -> str:
    """Return enough backticks, at least `least`, that no run of them inside a text ends its code."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])
