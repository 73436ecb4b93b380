"""Several adapters on one frozen language model, also within one batch.

    adapters = AdapterSet.from_pretrained({"science": "runs/science/multimodal", "chat": "ORG/NAME"})
    adaption = adapters.adaption(["chat", "science", "chat"], {"science": (features, has_image)})
    with adapters.prompted(adaption):                        # or adapters.logits(adaption, ...)
        generate(adapters.llm, prompts, 64)

They may differ in K, L, gates and images. Each row gets what its adapter alone would compute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmadapter.adapter.attention import RowPrompts
from mmadapter.adapter.parameters import Adaption
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.errors import UserError
from mmadapter.model import MultimodalAdapter, PromptedModel

MixedAdaption = dict[str, tuple[Int[Tensor, " _"], Adaption]]
"""By adapter: its rows of the batch, ascending, and its prompts, gates and image tokens for them."""


class AdapterSet(PromptedModel):
    """Models by name that share one `LanguageModel`: `adapters["chat"]` is an ordinary model.

    Raises:
        UserError: no models, or models on different language models.
    """

    def __init__(self, models: Mapping[str, MultimodalAdapter]) -> None:
        if not models:
            raise UserError("no adapters: name at least one")
        self.models, self.llm = dict(models), next(iter(models.values())).llm
        if other := [name for name, model in models.items() if model.llm is not self.llm]:
            raise UserError(f"adapter {other[0]}: sits on another language model than {next(iter(models))}")

    @classmethod
    def from_pretrained(cls, folders: Mapping[str, str | Path], *, llm: LanguageModel | None = None) -> AdapterSet:
        """Load adapters by name onto one language model.

        Args:
            folders: by name, as for `MultimodalAdapter.from_pretrained`.
            llm: None loads the one that the first adapter names.

        Raises:
            UserError: an adapter cannot be loaded, or was trained on another language model.
        """
        models: dict[str, MultimodalAdapter] = {}
        for name, folder in folders.items():
            models[name] = MultimodalAdapter.from_pretrained(folder, llm=llm)
            llm = models[name].llm
        return cls(models)

    def __getitem__(self, name: str) -> MultimodalAdapter:
        if name not in self.models:
            raise UserError(f"no adapter {name}: these are {', '.join(self.models)}")
        return self.models[name]

    @property
    def first_adapted(self) -> int:
        """The lowest layer in which any adapter has prompts."""
        return min(model.first_adapted for model in self.models.values())

    def adaption(
        self,
        names: Sequence[str],
        images: Mapping[str, tuple[Float[Tensor, "_ _"], Bool[Tensor, " _"]]] | None = None,
    ) -> MixedAdaption:
        """Return what each named adapter adds to its rows of a batch.

        Args:
            names: the adapter of each row.
            images: by adapter, for its rows in their order: raw features, and which rows have an image.

        Raises:
            UserError: an unknown name, or images that do not fit the rows.
        """
        images = images or {}
        for name in images.keys() - set(names):
            raise UserError(f"images for adapter {name}, which no row of the batch names")
        device = self.llm.model.device
        mixed: MixedAdaption = {}
        for name in dict.fromkeys(names):
            rows = torch.tensor([row for row, row_name in enumerate(names) if row_name == name], device=device)
            given = [part.to(device) for part in images.get(name, ())]
            if given and len(given[0]) != len(rows):
                raise UserError(f"adapter {name}: {len(given[0])} rows of image features for {len(rows)} of the batch")
            mixed[name] = rows, self[name].adapter(*given)
        return mixed

    def project(self, adaption: MixedAdaption) -> list[RowPrompts]:
        """Return the keys and values of each adapter's prompts, None in layers below its own."""
        depth = len(self.llm.layers) - self.first_adapted
        by_adapter = [self[name].project(given) for name, (_, given) in adaption.items()]
        aligned = [[None] * (depth - len(prompts)) + prompts for prompts in by_adapter]
        rows = tuple(rows for rows, _ in adaption.values())
        return [RowPrompts(rows, prompts) for prompts in zip(*aligned, strict=True)]
