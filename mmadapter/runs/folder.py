"""The folders of a run and of its variants: the only code that knows where a run's files are.

RUN/
    config.yaml                           the settings
    table.json, README.md                 the table of its variants
    mlflow.db                             what MLflow was told
    ceiling.parquet                       demo: the frozen model's answers with the true caption in the hint
    frozen.parquet                        instructions: the frozen model's responses
    multimodal/, text/                    one folder for each variant, usable without the rest
        config.yaml
        adapter.safetensors, adapter_config.json, README.md       the adapter, as `from_pretrained` reads it
        log.jsonl, tensorboard/, wandb/
        checkpoint.safetensors, checkpoint.previous.safetensors
        predictions[-SPLIT][-SCORING].parquet                     answers; suffixes name what differs from the settings
        controls[-SPLIT][-SCORING].parquet, .json                 answers with other images and option orders, counts
        attention.json, metrics.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmadapter.config.files import read_config
from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.storage.paths import ADAPTER_CARD, ADAPTER_CONFIG
from mmadapter.storage.untrusted import MAX_RECORD, read_json_object

CONFIG = "config.yaml"


@dataclass(frozen=True)
class _Inside:
    """A path inside a folder, as an attribute of the folder's class."""

    name: str

    def __get__(self, folder: RunFolder | VariantFolder, owner: type | None = None) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """A run directory of `mmadapter-train`, or the folder of one variant without its run."""

    path: Path

    config_file = _Inside(CONFIG)
    table = _Inside("table.json")
    card = _Inside(ADAPTER_CARD)
    ceiling = _Inside("ceiling.parquet")
    frozen = _Inside("frozen.parquet")

    @property
    def config(self) -> RunConfig:
        """The run's settings; those that are newer than the run have their defaults.

        Raises:
            UserError: not a run directory, or its settings cannot be read.
        """
        for file in (self.config_file, self.path.parent / CONFIG):  # a variant's folder is inside its run
            if file.is_file():
                return read_config(file)
        raise UserError(f"{self.path}: not a run directory: there is no {CONFIG} in it\n  mmadapter-train makes one")

    def variant(self, name: str) -> VariantFolder:
        """Return the folder of the variant `multimodal` or `text`, whether or not it exists."""
        return VariantFolder(self.path / name)

    @property
    def variants(self) -> list[VariantFolder]:
        """The variants that exist, multimodal before text; for a variant's folder, the variant itself.

        Raises:
            UserError: not a run directory.
        """
        found = [VariantFolder(file.parent) for file in sorted(self.path.glob(f"*/{CONFIG}"))]
        if not found and VariantFolder(self.path).is_trained:
            found = [VariantFolder(self.path)]
        if not found:
            raise UserError(f"{self.path}: not a run directory: no variant's folder in it holds a {CONFIG}")
        return found

    def answers(self, split: str | None = None, scoring: str | None = None) -> list[StoredAnswers]:
        """Return `VariantFolder.answers` of every variant."""
        return [variant.answers(split, scoring) for variant in self.variants]


@dataclass(frozen=True)
class VariantFolder:
    """One trained adapter and everything recorded about it."""

    path: Path

    config_file = _Inside(CONFIG)
    card = _Inside(ADAPTER_CARD)
    log = _Inside("log.jsonl")
    checkpoint = _Inside("checkpoint.safetensors")
    previous_checkpoint = _Inside("checkpoint.previous.safetensors")
    prompt_attention = _Inside("attention.json")
    metrics = _Inside("metrics.json")

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def run(self) -> RunFolder:
        """The run that contains it, or the folder itself if there is none."""
        return RunFolder(self.path.parent if (self.path.parent / CONFIG).is_file() else self.path)

    @property
    def config(self) -> RunConfig:
        """As `RunFolder.config`."""
        return RunFolder(self.path).config

    @property
    def is_trained(self) -> bool:
        """Whether its training is complete: the adapter is written last."""
        return (self.path / ADAPTER_CONFIG).is_file()

    @property
    def language_model(self) -> str | None:
        """Name and weights of the language model that it was trained on; None where its adapter does not say."""
        if not self.is_trained:
            return None
        saved = read_json_object(self.path / ADAPTER_CONFIG, MAX_RECORD)
        name, weights = saved.get("llm"), saved.get("llm_weights")
        return f"{name}, {weights}" if isinstance(name, str) and isinstance(weights, str) else None

    def answers(self, split: str | None = None, scoring: str | None = None) -> StoredAnswers:
        """Return the answers to a split by a scoring, whether or not they exist; by default those of the settings."""
        config = self.config
        named = ((split, config.split), (scoring, config.scoring))
        return StoredAnswers(self, "".join(f"-{asked}" for asked, default in named if asked not in (None, default)))


@dataclass(frozen=True)
class StoredAnswers:
    """The files of one variant's answers to one split by one scoring."""

    variant: VariantFolder
    suffix: str = ""

    @property
    def predictions(self) -> Path:
        return self.variant.path / f"predictions{self.suffix}.parquet"

    @property
    def exist(self) -> bool:
        return self.predictions.is_file()

    @property
    def controls(self) -> Path:
        """The same model's answers with other images and option orders."""
        return self.variant.path / f"controls{self.suffix}.parquet"

    @property
    def controls_summary(self) -> Path:
        """Counts over the controls."""
        return self.controls.with_suffix(".json")

    @property
    def unfinished_controls(self) -> Path:
        """The folder of the controls until all are complete."""
        return self.controls.with_name(f"{self.controls.stem}-unfinished")
