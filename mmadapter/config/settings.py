"""What a run can be told, and the presets: named, complete settings.

Plain dataclasses, quick to import; what a field means stands under it, and is its `--help`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmadapter.errors import UserError

DatasetName = Literal["demo", "scienceqa", "demo-instructions", "alpaca"]
Scoring = Literal["likelihood", "generate"]
Variant = Literal["both", "multimodal", "text"]
AttentionKind = Literal["zero-init", "rand-init"]
PromptUnit = Literal["one", "layer"]

INSTRUCTIONS = ("demo-instructions", "alpaca")
"""Data sets of instructions."""
INSTRUCTION_SETTINGS: dict[str, Any] = {
    "variant": "text",
    "answer": "response",
    "scoring": "generate",
    "choice_loss": 0.0,
}
"""What follows of itself for them: they have no image and no options."""

_Part = TypeVar("_Part", bound="InputFormat | Recipe")


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """How a problem becomes the model's input; saved with an adapter, which knows no other."""

    answer: Literal["letter", "text", "response"] = "letter"
    """Say the option's letter, "The answer is (C)." (the paper), or its text (for small language models); the response
    to an instruction."""
    max_tokens: int = 512
    """Bound on prompt and answer together: a longer prompt loses the middle of its hint, and is counted."""
    choice_images: Literal["none", "first"] = "none"
    """Where only the options have pictures: no image, or the first option's."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an adapter is trained: AdamW with betas (0.9, 0.95), linear warm-up, cosine to 0."""

    epochs: int = 30
    """Passes over the training problems."""
    batch_size: int = 64
    """Problems an optimiser step."""
    forward_tokens: int = 4096
    """Most padded tokens in a forward: a larger batch goes in parts, the same step in less memory."""
    checkpointing: bool = False
    """Compute adapted layers once more in the backward pass instead of keeping what they computed: a third slower,
    in a fraction of the memory."""
    store_activations: bool = False
    """Keep on disk what enters the first adapted layer: with L < N an epoch computes L layers instead of N, and so does
    another adapter that answers. Where all layers are adapted there is nothing to keep."""
    learning_rate: float = 9e-3 * 64 / 256
    """Peak learning rate. The paper's 9e-3 is for a batch of 256."""
    projection_rate: float = 1.0
    """The projection's learning rate, as a share of that of prompts and gates. 1 is the paper's."""
    warmup_epochs: float = 2.0
    """Epochs of linear warm-up."""
    weight_decay: float = 0.02
    """AdamW's."""
    choice_loss: float = 0.0
    """Weight of a second loss beside that of the answer's tokens: the cross-entropy of the right option among all by
    their likelihoods, which is what an answer is chosen by. 0 is the paper's; a large one teaches to compare options,
    and hardly to write one."""
    clip_norm: float = 1.0
    """Bound on the gradient's norm."""
    seed: int = 0
    """Of the initial adapter and the order of the problems."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: a number below its least value.
        """
        for name in ("epochs", "batch_size", "forward_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.projection_rate <= 0:
            raise UserError(f"projection_rate is {self.projection_rate}: it must be above 0")
        if self.choice_loss < 0:
            raise UserError(f"choice_loss is {self.choice_loss}: it must be at least 0")
        if not self.learning_rate > 0 or not self.clip_norm > 0:
            raise UserError("learning_rate and clip_norm must be above 0")


@dataclass(frozen=True, kw_only=True)
class RunConfig(InputFormat, Recipe):
    """A whole run: data, backbones, adapter, recipe, evaluation."""

    dataset: DatasetName = "demo"
    """Data set to train and test on: ScienceQA, or instructions in Alpaca's format; each has a generated demo."""
    data_dir: tuple[Path, ...] = ()
    """Folders that hold it; the first that holds a problem wins. Of alpaca its JSON file. demo generates its own."""
    preset: Literal["tiny", "small", "paper"] = "tiny"
    """Named settings that every other option overrides; --print-config says what they need. Default: tiny for demos,
    small for others."""
    llm: str = "tiny-llama"
    """Frozen language model: an embedded one, a folder, a GGUF file or a hub id."""
    clip: str = "tiny-clip"
    """Frozen image tower: an embedded one, a folder, an open_clip name (MODEL/TAG) or a hub id."""
    variant: Variant = "both"
    """The multimodal adapter, its text-only baseline, or both on the same data in the same order."""
    adapter_len: int = 10
    """K, adaption prompts in each adapted layer."""
    adapter_layers: int | None = None
    """L, how many of the topmost layers are adapted. Default: the preset's share of the model's layers."""
    scales: int = 4
    """M, depths of the image tower whose global features are used. Of a convolutional tower the quarters of its last
    map are one more."""
    projection_hidden: int = 64
    """Width of the hidden layer of the projection."""
    components: int | None = None
    """Principal components of the training images' features that the projection reads, of about equal variance.
    Default: the features themselves (the paper)."""
    prompt_std: float = 1.0
    """Standard deviation of the initial prompts."""
    prompt_unit: PromptUnit = "one"
    """Of prompt_std: 1, or the size of what enters each adapted layer's frozen attention (its root mean square)."""
    attention: AttentionKind = "zero-init"
    """The paper's gated attention, or its ablation: prompts and words in one softmax without a gate."""
    scoring: Scoring = "likelihood"
    """Answer by the likelihood of each option, or by greedy generation read with the strict rule."""
    split: str = "test"
    """Split of the final table."""
    limit: int | None = None
    """Use only the first LIMIT problems of each split."""
    train_limit: int | None = None
    """Train on no more than the first TRAIN_LIMIT problems; val and test stay whole."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the frozen language model; the adapter is float32. auto: bfloat16 where the processor has it."""
    quantise: Literal["none", "8bit", "4bit"] = "none"
    """Hold the frozen language model's layers in 8 or 4 bits, by bitsandbytes: for GPUs that it does not fit."""
    shard: bool = False
    """Every process of torchrun holds a part of the frozen language model: for models that do not fit on one GPU."""
    offload: bool = False
    """Hold the frozen layers in main memory and bring each matrix to the GPU as it is used: slow, for GPUs that a layer
    or two fit. Needs --checkpointing."""
    compile: bool = False
    """Fuse the small operations of the frozen layers with torch.compile: a minute later to start, faster from there."""
    deterministic: bool = False
    """The same bits in every run on a GPU too: slower, and an operation without such a form is an error. A processor
    needs no such setting."""
    on_error: Literal["stop", "skip"] = "stop"
    """A broken problem or image stops the run, or is left out and counted."""
    tensorboard: bool = False
    """Also write the training log for TensorBoard."""
    output_dir: Path | None = None
    """Folder of the run. Default: runs/DATASET-PRESET-seedN."""
    resume: bool = False
    """Go on with the run in the output folder."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: what `Recipe` refuses; instructions read as questions, or questions as instructions; settings
                that do not go together.
        """
        super().__post_init__()
        for name in ("adapter_len", "adapter_layers", "scales", "projection_hidden", "components"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise UserError(f"{name} is {size}: it must be at least 1")
        held = {  # where the frozen model lies, and what needs it whole in one place
            "--shard": self.shard,
            "--offload": self.offload,
            "--compile": self.compile,
            "--store-activations": self.store_activations,
            "--quantise": self.quantise != "none",
        }
        first, *others = [flag for flag, given in held.items() if given] or [""]
        if first in ("--shard", "--offload") and others:
            raise UserError(f"{first}: does not go with {', '.join(others)}")
        told = {name: getattr(self, name) for name in INSTRUCTION_SETTINGS}
        if self.dataset in INSTRUCTIONS and told != INSTRUCTION_SETTINGS:
            hint = "leave out --variant, --answer, --scoring and --choice-loss"
            raise UserError(f"{self.dataset}: instructions have no image and no options\n  {hint}")
        if self.dataset not in INSTRUCTIONS and self.answer == "response":
            raise UserError(f"{self.dataset}: questions are not instructions: choose --answer letter or text")
        if self.offload and not self.checkpointing:
            raise UserError("--offload: needs --checkpointing: else the backward pass keeps the layers on the GPU")

    @property
    def folder(self) -> Path:
        """Of the run: the output folder, or its default."""
        return self.output_dir or Path("runs", f"{self.dataset}-{self.preset}-seed{self.seed}")

    def part(self, kind: type[_Part]) -> _Part:
        """The settings that belong to one of the classes above, as an instance of it."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})
