"""The settings of a run, in groups.

Plain dataclasses, quick to import. The text under a field is its `--help`, the group of its class the heading there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from mmadapter.errors import UserError

DatasetName = Literal["demo", "scienceqa", "demo-instructions", "alpaca"]
Scoring = Literal["likelihood", "generate"]
Variant = Literal["both", "multimodal", "text"]
Tracker = Literal["tensorboard", "wandb", "mlflow"]
AttentionKind = Literal["zero-init", "rand-init"]

INSTRUCTIONS = ("demo-instructions", "alpaca")
"""The data sets of instructions."""
INSTRUCTION_SETTINGS: dict[str, Any] = {
    "variant": "text",
    "answer": "response",
    "scoring": "generate",
    "choice_loss": 0.0,
}
"""Settings that follow from such a data set: it has no images and no options."""

_Part = TypeVar("_Part", bound="InputFormat | Recipe")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The questions."""

    group: ClassVar[str] = "data"
    dataset: DatasetName = "demo"
    """Data set: ScienceQA, Alpaca's instructions, or the generated demo of either."""
    data_dir: tuple[Path, ...] = ()
    """Folders with the data; the first that holds a problem wins. For alpaca, its JSON file. The demos need none."""
    resplit: Literal["official", "wording"] = "official"
    """ScienceQA's own split, or one in which no wording of val and test occurs in training."""
    limit: int | None = None
    """Use only the first LIMIT problems of each split."""
    train_limit: int | None = None
    """Train on the first TRAIN_LIMIT problems only; val and test stay whole."""
    on_error: Literal["stop", "skip"] = "stop"
    """Stop at a broken problem or image, or leave it out and count it."""


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """How a problem becomes the model's input. An adapter keeps it, for it knows no other."""

    group: ClassVar[str] = "data"
    answer: Literal["letter", "text", "response"] = "letter"
    """Answer with the option's letter, "The answer is (C)." (the paper), with its text (for small language models), or
    with the response to an instruction."""
    max_tokens: int = 512
    """Longest prompt and answer together. A longer prompt loses the middle of its hint, and is counted."""
    choice_images: Literal["none", "first"] = "none"
    """Image of a question whose options are pictures: none, or the first option's."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The frozen backbones."""

    group: ClassVar[str] = "model"
    llm: str = "tiny-llama"
    """Language model: an embedded one, a folder, a GGUF file or a hub id."""
    clip: str = "tiny-clip"
    """Image tower: an embedded one, a folder, an open_clip name (MODEL/TAG) or a hub id."""
    scales: int = 4
    """M, the number of depths at which the image tower is read. A convolutional tower has one more: the quarters of its
    last feature map."""


@dataclass(frozen=True, kw_only=True)
class AdapterSettings:
    """The adapter, before training."""

    group: ClassVar[str] = "adapter"
    variant: Variant = "both"
    """Train the multimodal adapter, its text-only baseline, or both on the same data in the same order."""
    adapter_len: int = 10
    """K, the number of adaption prompts in each adapted layer."""
    adapter_layers: int | None = None
    """L, the number of adapted layers, counted from the top. Default: the preset's share of the model's layers."""
    attention: AttentionKind = "zero-init"
    """The paper's gated attention, or its ablation: prompts and words in one softmax without a gate."""
    prompt_std: float = 1.0
    """Standard deviation of the initial prompts."""
    projection_hidden: int = 64
    """Width of the projection's hidden layer."""
    components: int | None = None
    """Number of whitened principal components that the projection reads. Default: the features themselves (the
    paper)."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Training: AdamW with betas (0.9, 0.95), linear warm-up, cosine to 0."""

    group: ClassVar[str] = "recipe"
    epochs: int = 30
    """Passes over the training problems."""
    batch_size: int = 64
    """Problems in each optimiser step."""
    learning_rate: float = 9e-3 * 64 / 256
    """Peak learning rate. The paper's 9e-3 is for a batch of 256."""
    projection_rate: float = 1.0
    """Learning rate of the projection, as a share of the prompts' and gates'. The paper has 1."""
    warmup_epochs: float = 2.0
    """Epochs of linear warm-up."""
    weight_decay: float = 0.02
    """Weight decay of AdamW."""
    choice_loss: float = 0.0
    """Weight of a second loss, the cross-entropy of the right option among all options by their likelihoods. The paper
    has 0. A large weight teaches the model to choose an option and hardly to write one."""
    seed: int = 0
    """Seed of the initial adapter and of the order of the problems."""
    forward_tokens: int = 4096
    """Most padded tokens in one forward. A larger batch is split: the same step in less memory."""
    checkpointing: bool = False
    """Recompute the adapted layers in the backward pass: a third slower, in a fraction of the memory."""
    store_activations: bool = False
    """Store on disk what enters the first adapted layer. An epoch, and another adapter's answers, then compute L layers
    instead of N. With all layers adapted there is nothing to store."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: a number below its least value.
        """
        for name in ("epochs", "batch_size", "forward_tokens"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("projection_rate", "learning_rate"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} is {getattr(self, name)}: it must be above 0")
        if self.choice_loss < 0:
            raise UserError(f"choice_loss is {self.choice_loss}: it must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the frozen language model lies, and in which precision."""

    group: ClassVar[str] = "placement"
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the frozen language model; the adapter is float32. auto: bfloat16 where the processor has it."""
    quantise: Literal["none", "8bit", "4bit"] = "none"
    """Hold the frozen layers in 8 or 4 bits, by bitsandbytes."""
    shard: bool = False
    """Give each process of torchrun a part of the frozen language model."""
    offload: bool = False
    """Keep the frozen layers in main memory and copy each matrix to the GPU when it is used. Slow; needs
    --checkpointing."""
    compile: bool = False
    """Fuse the frozen layers' small operations with torch.compile: a minute later to start, then faster."""
    threads: int | None = None
    """Threads of a processor's arithmetic. Default: OMP_NUM_THREADS, else as many as are free and faster than one. A
    resume keeps its run's number: another one sums in another order."""
    deterministic: bool = False
    """Give the same bits in every run on a GPU too. Slower, and an operation without such a form is an error."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The test after training."""

    group: ClassVar[str] = "evaluation"
    split: str = "test"
    """Split of the final table."""
    scoring: Scoring = "likelihood"
    """Choose the option of the highest likelihood, or write an answer greedily and read it by the strict rule."""


@dataclass(frozen=True, kw_only=True)
class RunConfig(
    EvaluationSettings, Placement, Recipe, AdapterSettings, ModelSettings, InputFormat, DataSettings
):  # a dataclass takes the fields of its last base first
    """A whole run."""

    group: ClassVar[str] = "run"
    preset: Literal["tiny", "small", "paper"] = "tiny"
    """Named settings that every other option overrides; --print-config shows them. Default: tiny for demos, else
    small."""
    track: Tracker | None = None
    """Write the training log for TensorBoard, Weights & Biases or MLflow too, offline, into the run's folder."""
    output_dir: Path | None = None
    """Folder of the run. Default: runs/DATASET-PRESET-seedN."""

    def __post_init__(self) -> None:
        """
        Raises:
            UserError: as `Recipe`; instructions read as questions, or questions as instructions; settings that do
                not go together.
        """
        super().__post_init__()
        for name in ("adapter_len", "adapter_layers", "scales", "projection_hidden", "components", "threads"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise UserError(f"{name} is {size}: it must be at least 1")
        placed = {  # where the frozen model lies, and what needs it whole in one place
            "--shard": self.shard,
            "--offload": self.offload,
            "--compile": self.compile,
            "--store-activations": self.store_activations,
            "--quantise": self.quantise != "none",
        }
        first, *others = [flag for flag, given in placed.items() if given] or [""]
        if first in ("--shard", "--offload") and others:
            raise UserError(f"{first}: does not go with {', '.join(others)}")
        if self.dataset in INSTRUCTIONS and any(getattr(self, k) != v for k, v in INSTRUCTION_SETTINGS.items()):
            hint = "leave out --variant, --answer, --scoring and --choice-loss"
            raise UserError(f"{self.dataset}: instructions have no image and no options\n  {hint}")
        if self.dataset not in INSTRUCTIONS and self.answer == "response":
            raise UserError(f"{self.dataset}: questions are not instructions: choose --answer letter or text")
        if self.offload and not self.checkpointing:
            raise UserError("--offload: needs --checkpointing: else the backward pass keeps the layers on the GPU")

    @property
    def folder(self) -> Path:
        """The output folder, or its default."""
        return self.output_dir or Path("runs", f"{self.dataset}-{self.preset}-seed{self.seed}")

    def part(self, kind: type[_Part]) -> _Part:
        """The settings of one group, as an instance of its class."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})
