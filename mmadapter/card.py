"""The README of a trained adapter: what it is, what it scored, how it is loaded."""

from __future__ import annotations

import re

from mmadapter.config import RunConfig
from mmadapter.errors import printable
from mmadapter.model import MultimodalAdapter
from mmadapter.settings import config_yaml

_CARD = """# {title}

An adapter of {parameters:,} trained parameters on the frozen {llm}{image}, trained with
mmadapter, an independent implementation of LLaMA-Adapter (arXiv 2303.16199).

{table}
{skipped}
## Use

```python
import mmadapter as mma

model = mma.MultimodalAdapter.from_pretrained("{folder}")
predictions = mma.predict(model, mma.load_dataset("{dataset}", {data_dir})["{split}"])
```

## Configuration

{fence}yaml
{config}{fence}
"""


def model_card(config: RunConfig, model: MultimodalAdapter, table: str, skipped: int) -> str:
    """
    Args:
        table: the variant's results, in Markdown.
        skipped: broken problems that were left out.
    """
    text_only, settings = model.adapter.text_only, config_yaml(config)
    return _CARD.format(
        title="LLaMA-Adapter, text-only" if text_only else "LLaMA-Adapter, multimodal",
        parameters=sum(parameter.numel() for parameter in model.adapter.parameters()),
        llm=_code(config.llm),
        image="" if text_only else f" with the frozen image tower {_code(config.clip)}",
        table=table,
        skipped=f"\n{skipped} broken problems were left out; `metrics.json` names them.\n" if skipped else "",
        folder="text" if text_only else "multimodal",
        dataset=config.dataset,
        data_dir=[str(folder) for folder in config.data_dir] or None,
        split=config.split,
        config=settings,
        fence=_fence(settings, 3),
    )


def _code(name: str) -> str:
    """A name that shows as it is, whatever Markdown or HTML it holds."""
    fence = _fence(name, 1)
    room = " " if "`" in name else ""
    return f"{fence}{room}{printable(name)}{room}{fence}"


def _fence(text: str, least: int) -> str:
    """More backticks than stand together anywhere in a text, so that nothing in it ends the code that it is."""
    return "`" * max([least, *(len(run) + 1 for run in re.findall("`+", text))])
