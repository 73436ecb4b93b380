"""Where the frozen language model, the frozen image tower and the adapter meet.

Axes: B batch, T tokens, R positions read, C hidden size, V vocabulary; N layers, the topmost L of them adapted.
"""

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

DEFAULT_FORM = InputFormat()


class PromptedModel(ABC):
    """A frozen decoder whose topmost layers can be given adaption prompts, those of one adapter or of several."""

    llm: LanguageModel
    checkpointing: bool = False
    """Whether training keeps only the input of each adapted layer and recomputes the rest in the backward pass."""

    @property
    @abstractmethod
    def first_adapted(self) -> int:
        """N - L, the lowest layer with prompts."""

    @abstractmethod
    def project(self, adaption: Any) -> Sequence[AnyPrompts]:
        """Return the keys and values of a batch's prompts in each layer from `first_adapted` up."""

    @contextmanager
    def prompted(self, adaption: Any) -> Iterator[None]:
        """Attach adaption prompts to the language model: inside the block, each of its forwards uses them.

        The prompts are projected once, on entry, and nothing stays attached after the block, whatever happens in it,
        so no later training step can mistake old prompts for its own. In nested blocks the innermost counts.
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
        """Compute next-token logits, in float32, at the positions read and nowhere else.

        Args:
            input_ids: padded on the right; then no mask is needed, as causal attention never sees the padding.
            read: rows (ascending) and columns of `input_ids`.
            below: the result of `below_adapter`, if it is already known.
            attention_mask: (B, T) of ones and zeros for another padding, or a boolean (B, 1, T, T).
        """
        inputs = {"position_ids": position_ids, "attention_mask": attention_mask}
        if below is None:
            below = self.below_adapter(input_ids, **inputs)
        with self.prompted(adaption):
            decoder, recompute = self.llm.model.get_decoder(), self.checkpointing and torch.is_grad_enabled()
            hidden = hidden_at(decoder, self.first_adapted, below, read, checkpointing=recompute, **inputs)
        return self.llm.logits(hidden).float()

    def below_adapter(self, input_ids: Int[Tensor, "B T"], **inputs: Tensor | None) -> Float[Tensor, "B T C"]:
        """Compute what enters the first adapted layer, which no trained weight affects."""
        return hidden_below(self.llm.model.get_decoder(), self.first_adapted, input_ids, **inputs)


class MultimodalAdapter(PromptedModel):
    """An adapter on a frozen decoder and, unless it is text-only, a frozen image tower.

    Several of them can share one `LanguageModel`: prompts are attached to it only inside `prompted`.
    """

    def __init__(
        self, llm: LanguageModel, adapter: Adapter, tower: ImageTower | None = None, form: InputFormat = DEFAULT_FORM
    ) -> None:
        """
        Raises:
            UserError: the adapter has more layers than the language model, or was made for other image features.
        """
        config, total = adapter.config, len(llm.layers)
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
        form: InputFormat = DEFAULT_FORM,
    ) -> MultimodalAdapter:
        """Make a new adapter, with prompts from N(0, prompt_std) and gates of 0.

        Args:
            llm: a language model, or a name for `load_llm`.
            clip: an image tower, or a name for `load_tower`; None for the text-only baseline.
            scales: M, the number of depths at which a tower given by name is read.
            components: see `Projection`; at most as many as features. Training finds their axes first.
            attention: "rand-init" is the ablation in the paper's Table 5.
            form: how problems are turned into input; saved with the adapter.

        Raises:
            UserError: as `load_llm` and `load_tower`, or more adapter layers than the language model has.
        """
        llm = load_llm(llm) if isinstance(llm, str) else llm
        tower = load_tower(clip, scales=scales) if isinstance(clip, str) else clip
        sizes = tower.feature_sizes if tower is not None else ()
        config = AdapterConfig(
            hidden_size=llm.model.config.hidden_size,
            num_heads=llm.model.config.num_attention_heads,
            adapter_len=adapter_len,
            adapter_layers=adapter_layers,
            feature_sizes=sizes,
            projection_hidden=projection_hidden,
            components=min(components, sum(sizes)) if sizes and components else None,
            attention=attention,
        )
        return cls(llm, Adapter(config, prompt_std=prompt_std, seed=seed), tower, form)

    @property
    def first_adapted(self) -> int:
        return len(self.llm.layers) - self.adapter.config.adapter_layers

    def project(self, adaption: Adaption) -> list[LayerPrompts | PrefixPrompts]:
        gates = [None] * len(adaption.prompts) if adaption.gates is None else adaption.gates
        layers = self.llm.layers[self.first_adapted :]
        return [
            project_prompts(layer.self_attn, prompts, gate, adaption.image_token)
            for layer, prompts, gate in zip(layers, adaption.prompts, gates, strict=True)
        ]

    @property
    def identity(self) -> dict[str, str | None]:
        """Names, fingerprints and weights of both frozen models, by which a saved adapter recognises them."""
        return {
            "llm": self.llm.name,
            "llm_fingerprint": self.llm.fingerprint,
            "llm_weights": self.llm.weights,
            "clip": self.tower.name if self.tower else None,
            "clip_fingerprint": self.tower.fingerprint if self.tower else None,
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `adapter.safetensors` (float32, a few megabytes), `adapter_config.json` and, unless there already is
        one, a `README.md` that describes them."""
        identity, folder = self.identity, Path(folder)
        save_adapter(self.adapter, {**identity, "input": asdict(self.form)}, folder)
        if not (folder / ADAPTER_CARD).exists():
            write_text(folder / ADAPTER_CARD, adapter_card(self.adapter, self.llm.name, identity["clip"]))

    def push_to_hub(self, name: str, *, card: str | None = None, private: bool | None = None) -> str:
        """Publish what `save_pretrained` writes as a repository on the hub, creating it if need be.

        Args:
            name: ORG/NAME.
            card: the README, such as the one in a run's folder with its results; None for a plain one.
            private: whether a new repository is private; None for the organisation's default.

        Returns:
            The address of the commit.

        Raises:
            UserError: a backbone that exists only on this machine, no login, no right to write, or no network.
        """
        for backbone in filter(None, (self.identity["llm"], self.identity["clip"])):
            if Path(backbone).expanduser().exists():
                raise UserError(
                    f"{backbone}: is on this machine alone, and the pushed adapter would name it\n"
                    "  load the backbone by its name on the hub"
                )
        with TemporaryDirectory() as folder:
            if card is not None:
                write_text(Path(folder, ADAPTER_CARD), card)
            self.save_pretrained(folder)
            return push_folder(Path(folder), name, private=private)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, llm: LanguageModel | None = None, tower: ImageTower | None = None
    ) -> MultimodalAdapter:
        """Load an adapter and, unless given, the backbones that it names.

        Args:
            folder: a folder, or ORG/NAME on the hub.

        Raises:
            UserError: not an adapter's folder, tensors that do not fit its configuration, or a backbone that the
                adapter was not trained on.
        """
        adapter, saved = load_adapter(adapter_folder(folder, [ADAPTER_WEIGHTS]))
        parts = ("llm",) if adapter.text_only else ("llm", "clip")
        try:
            form = InputFormat(**checked_fields(InputFormat, dict(saved["input"]), str(folder)))
            for name in ("llm", "llm_fingerprint", "clip", "clip_fingerprint"):
                if not isinstance(saved[name], str) and name.startswith(parts):
                    raise TypeError(f"{name} must be text")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder}: its configuration does not say what the adapter belongs to: {error}") from error
        llm = llm or load_llm(saved["llm"])
        if adapter.text_only:
            tower = None
        elif tower is None:
            tower = load_tower(saved["clip"], scales=len(adapter.config.feature_sizes))
        model = cls(llm, adapter, tower, form)
        for part in ("llm", "clip"):
            then, now = saved[f"{part}_fingerprint"], model.identity[f"{part}_fingerprint"]
            if then != now:
                raise UserError(
                    f"{folder}: this adapter was trained on {saved[part]} ({then}), not on "
                    f"{model.identity[part]} ({now}): give the backbone that it names"
                )
        then, now = saved.get("llm_weights"), llm.weights  # adapters of version 0.1.0 do not say
        if isinstance(then, str) and now is not None and then != now:
            raise UserError(
                f"{folder}: this adapter was trained on other weights of {saved['llm']}: {then}, not {now}\n"
                "  give the language model that it was trained on"
            )
        return model
