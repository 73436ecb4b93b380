"""The adapted model: a frozen language model, a frozen image tower and an adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmadapter.adapter.attention import AnyPrompts, LayerPrompts, PrefixPrompts, attach, project_prompts
from mmadapter.adapter.card import adapter_card
from mmadapter.adapter.parameters import Adapter, AdapterConfig, Adaption
from mmadapter.adapter.weights import load_adapter, save_adapter
from mmadapter.backbone.decoder import hidden_at, hidden_below
from mmadapter.backbone.language_model import LanguageModel
from mmadapter.backbone.loading import load_llm
from mmadapter.config.settings import AttentionKind, InputFormat
from mmadapter.errors import UserError
from mmadapter.storage.files import write_text
from mmadapter.storage.hub import adapter_folder, push_folder
from mmadapter.storage.paths import ADAPTER_CARD, ADAPTER_WEIGHTS
from mmadapter.storage.untrusted import checked_fields
from mmadapter.vision.towers import ImageTower, load_tower


class PromptedModel(ABC):
    """A frozen decoder whose topmost layers can get prompts, from one adapter or several."""

    checkpointing: bool = False
    """Whether a training forward keeps only the input of each adapted layer, and the backward recomputes the rest."""

    llm: LanguageModel

    @property
    @abstractmethod
    def first_adapted(self) -> int:
        """N - L, the lowest layer with prompts."""

    @abstractmethod
    def project(self, adaption: Any) -> Sequence[AnyPrompts]:
        """Project a batch's prompts for each layer, from `first_adapted` up."""

    @contextmanager
    def prompted(self, adaption: Any) -> Iterator[None]:
        """Attach the adaption prompts to the language model while the block runs.

        Keys and values of the prompts are computed once, on entry, and detached on exit, so that no later training step
        can use stale ones. A nested block replaces the outer one's prompts until it ends.
        """
        adapted = [layer.self_attn for layer in self.llm.layers[self.first_adapted :]]
        outer = [getattr(attention, "adaption", None) for attention in adapted]
        try:
            for attention, prompts in zip(adapted, self.project(adaption), strict=True):
                attach(attention, prompts)
            yield
        finally:
            for attention, prompts in zip(adapted, outer, strict=True):
                attach(attention, prompts)

    def logits(
        self,
        adaption: Any,
        input_ids: Int[Tensor, "B T"],
        read: tuple[Int[Tensor, " R"], Int[Tensor, " R"]],
        *,
        below: Float[Tensor, "B T C"] | None = None,
        position_ids: Int[Tensor, "B T"] | None = None,
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "R V"]:
        """Compute next-token logits, in float32, only at the positions that are read.

        Args:
            input_ids: padded on the right; a causal kernel then needs no mask.
            read: rows (ascending) and columns of `input_ids`.
            below: the input of the first adapted layer (`below_adapter`), computed if None.
            attention_mask: ones and zeros (B, T) for other padding, or boolean (B, 1, T, T).
        """
        inputs = {"position_ids": position_ids, "attention_mask": attention_mask}
        if below is None:
            below = self.below_adapter(input_ids, **inputs)
        with self.prompted(adaption):
            decoder, again = self.llm.model.get_decoder(), self.checkpointing and torch.is_grad_enabled()
            hidden = hidden_at(decoder, self.first_adapted, below, read, checkpointing=again, **inputs)
        return self.llm.logits(hidden).float()

    def below_adapter(self, input_ids: Int[Tensor, "B T"], **inputs: Tensor | None) -> Float[Tensor, "B T C"]:
        """Compute the input of the first adapted layer, which no trained weight affects."""
        return hidden_below(self.llm.model.get_decoder(), self.first_adapted, input_ids, **inputs)


class MultimodalAdapter(PromptedModel):
    """An adapter on a frozen decoder and, unless it is text-only, a frozen image tower.

    Several can share one `LanguageModel`: prompts are attached to it only inside `prompted`.
    """

    def __init__(
        self,
        llm: LanguageModel,
        adapter: Adapter,
        tower: ImageTower | None = None,
        form: InputFormat = InputFormat(),  # noqa: B008 (frozen)
    ) -> None:
        """
        Raises:
            UserError: more adapted layers than the language model has, or a tower of another kind.
        """
        config = adapter.config
        total = len(llm.layers)
        if not 1 <= config.adapter_layers <= total:
            raise UserError(
                f"adapter_layers is {config.adapter_layers}, but {llm.name} has {total} layers: choose 1 to {total}"
            )
        if tower is not None and tower.feature_sizes != config.feature_sizes:
            raise UserError(
                f"{tower.name}: its features have sizes {tower.feature_sizes}, the adapter's {config.feature_sizes}"
            )
        self.llm, self.adapter, self.tower, self.form = llm, adapter.to(llm.model.device), tower, form

    @classmethod
    def build(
        cls,
        llm: LanguageModel | str,
        clip: ImageTower | str | None,
        *,
        adapter_len: int = 10,
        adapter_layers: int = 30,
        scales: int = 4,
        projection_hidden: int = 64,
        components: int | None = None,
        prompt_std: float = 1.0,
        attention: AttentionKind = "zero-init",
        seed: int = 0,
        form: InputFormat = InputFormat(),  # noqa: B008 (frozen)
    ) -> MultimodalAdapter:
        """Build a model with a new adapter: prompts from N(0, prompt_std), gates 0.

        Args:
            llm: a loaded language model, or a name for `load_llm`.
            clip: a loaded image tower, or a name for `load_tower`; None for the text-only baseline.
            scales: M, the number of depths at which a tower given by name is read.
            components: see `Projection`; at most as many as the tower has features. Training fits them first.
            attention: "rand-init" is the ablation of the paper's Table 5.
            form: how problems become its input; saved with the adapter.

        Raises:
            UserError: as `load_llm` and `load_tower`; more adapted layers than the language model has.
        """
        llm = load_llm(llm) if isinstance(llm, str) else llm
        tower = load_tower(clip, scales=scales) if isinstance(clip, str) else clip
        config = AdapterConfig(
            hidden_size=llm.model.config.hidden_size,
            num_heads=llm.model.config.num_attention_heads,
            adapter_len=adapter_len,
            adapter_layers=adapter_layers,
            feature_sizes=tower.feature_sizes if tower is not None else (),
            projection_hidden=projection_hidden,
            components=min(components, sum(tower.feature_sizes)) if tower is not None and components else None,
            attention=attention,
        )
        return cls(llm, Adapter(config, prompt_std=prompt_std, seed=seed), tower, form)

    @property
    def first_adapted(self) -> int:
        """N - L, the lowest layer with prompts."""
        return len(self.llm.layers) - self.adapter.config.adapter_layers

    def project(self, adaption: Adaption) -> list[LayerPrompts | PrefixPrompts]:
        """Project the prompts of each adapted layer to keys and values."""
        gates = [None] * len(adaption.prompts) if adaption.gates is None else adaption.gates
        layers = self.llm.layers[self.first_adapted :]
        return [
            project_prompts(layer.self_attn, prompts, gate, adaption.image_token)
            for layer, prompts, gate in zip(layers, adaption.prompts, gates, strict=True)
        ]

    @property
    def identity(self) -> dict[str, str | None]:
        """Names and hashes of both frozen models; a saved adapter loads on no others."""
        tower = self.tower
        return {
            "llm": self.llm.name,
            "llm_fingerprint": self.llm.fingerprint,
            "clip": tower.name if tower else None,
            "clip_fingerprint": tower.fingerprint if tower else None,
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `adapter.safetensors` (float32, a few megabytes), `adapter_config.json` and, if absent, a
        `README.md`."""
        identity, folder = self.identity, Path(folder)
        save_adapter(self.adapter, {**identity, "input": asdict(self.form)}, folder)
        if not (folder / ADAPTER_CARD).exists():
            write_text(folder / ADAPTER_CARD, adapter_card(self.adapter, str(identity["llm"]), identity["clip"]))

    def push_to_hub(self, name: str, *, card: str | None = None, private: bool | None = None) -> str:
        """Push what `save_pretrained` writes to a repository on the hub, creating it if need be.

        Args:
            name: ORG/NAME.
            card: the README, such as the one in a run's folder; None for a plain one.
            private: visibility of a new repository; None for the organisation's default.

        Returns:
            The address of the commit.

        Raises:
            UserError: a backbone that exists only on this machine, no login, no right to write, or no network.
        """
        for own in filter(None, (self.identity["llm"], self.identity["clip"])):
            if Path(own).expanduser().exists():
                raise UserError(
                    f"{own}: is on this machine alone, and the pushed adapter would name it\n"
                    "  load the backbone by its name on the hub"
                )
        with TemporaryDirectory() as folder:
            if card is not None:
                write_text(Path(folder, ADAPTER_CARD), card)
            self.save_pretrained(folder)
            return push_folder(Path(folder), name, private=private)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        llm: LanguageModel | None = None,
        tower: ImageTower | None = None,
    ) -> MultimodalAdapter:
        """Load an adapter and the backbones that it names, unless they are given.

        Args:
            folder: or ORG/NAME on the hub.

        Raises:
            UserError: no adapter folder, tensors that do not fit its configuration, or other backbones than those the
                adapter was trained on.
        """
        adapter, saved = load_adapter(adapter_folder(folder, [ADAPTER_WEIGHTS]))
        try:
            form = InputFormat(**checked_fields(InputFormat, dict(saved["input"]), str(folder)))
            names = saved["llm"], saved["llm_fingerprint"], saved["clip"], saved["clip_fingerprint"]
            if not all(isinstance(name, str) for name in names[: 2 if adapter.text_only else 4]):
                raise TypeError("a name is no text")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: its configuration does not say what the adapter belongs to: {error}") from error
        llm = llm or load_llm(saved["llm"])
        if tower is None and not adapter.text_only:
            tower = load_tower(saved["clip"], scales=len(adapter.config.feature_sizes))
        model = cls(llm, adapter, None if adapter.text_only else tower, form)
        for part in ("llm", "clip"):
            then, now = saved[f"{part}_fingerprint"], model.identity[f"{part}_fingerprint"]
            if then != now:
                raise UserError(
                    f"{folder}: this adapter was trained on {saved[part]} ({then}), not on "
                    f"{model.identity[part]} ({now}): give the backbone that it names"
                )
        return model
