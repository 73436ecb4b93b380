"""The README of a trained variant: what it is, what it scored, how to load it."""

from __future__ import annotations

from mmadapter.adapter.card import fence, opening
from mmadapter.config.files import config_yaml
from mmadapter.config.settings import RunConfig
from mmadapter.model import MultimodalAdapter

_CARD = """{opening}
{table}
{skipped}
## Use

```python
import mmadapter as mma

model = mma.MultimodalAdapter.from_pretrained("{folder}")
predictions = mma.predict(model, mma.load_dataset("{dataset}", {data_dir}{resplit})["{split}"]{scoring})
```

## Configuration

{fence}yaml
{config}{fence}
"""


def run_card(config: RunConfig, model: MultimodalAdapter, table: str, skipped: int) -> str:
    """Write the README's text.

    Args:
        table: the variant's results, in Markdown.
        skipped: number of broken problems that were left out.
    """
    text_only, settings = model.adapter.text_only, config_yaml(config)
    return _CARD.format(
        opening=opening(model.adapter, config.llm, None if text_only else config.clip),
        table=table,
        skipped=f"\n{skipped} broken problems were left out; `metrics.json` names them.\n" if skipped else "",
        folder="text" if text_only else "multimodal",
        dataset=config.dataset,
        data_dir=[str(folder) for folder in config.data_dir] or None,
        resplit="" if config.resplit == "official" else f', resplit="{config.resplit}"',
        split=config.split,
        scoring="" if config.scoring == "likelihood" else f', scoring="{config.scoring}"',
        config=settings,
        fence=fence(settings, 3),
    )
