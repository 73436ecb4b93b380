"""The folder of a run and of each variant: the only code that knows which file lies where.

RUN/
    config.yaml                           the settings
    table.json, README.md                 the table of its variants
    ceiling.parquet                       demo: the frozen model's answers with the true caption in the hint
    frozen.parquet                        instructions: the frozen model's responses
    multimodal/, text/                    one variant each, complete without the rest
        config.yaml
        adapter.safetensors, adapter_config.json, README.md       the adapter, as `from_pretrained` reads it
        log.jsonl, tensorboard/
        checkpoint.safetensors, checkpoint.previous.safetensors
        predictions[-SPLIT][-SCORING].parquet                     answers; a suffix where not the run's own
        controls[-SPLIT][-SCORING].parquet, .json                 answers with other images and option orders
        attention.json, metrics.json
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmadapter.config.files import read_config
from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.storage.paths import ADAPTER_CARD, ADAPTER_CONFIG

CONFIG = "config.yaml"


@dataclass(frozen=True)
class RunFolder:
    """A run directory of `mmadapter-train`, or a variant's folder taken out of one."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG

    @property
    def table(self) -> Path:
        """The table of all variants, as JSON."""
        return self.path / "table.json"

    @property
    def card(self) -> Path:
        """The table of all variants, for people."""
        return self.path / ADAPTER_CARD

    @property
    def ceiling(self) -> Path:
        return self.path / "ceiling.parquet"

    @property
    def frozen(self) -> Path:
        """The frozen model's responses to instructions."""
        return self.path / "frozen.parquet"

    @property
    def config(self) -> RunConfig:
        """The run's saved settings, with defaults for settings that are newer than the run.

        Raises:
            UserError: not a run directory, or its settings cannot be read.
        """
        for file in (self.config_file, self.path.parent / CONFIG):  # a variant's folder lies in its run
            if file.is_file():
                return read_config(file)
        raise UserError(f"{self.path}: not a run directory: there is no {CONFIG} in it\n  mmadapter-train makes one")

    def variant(self, name: str) -> VariantFolder:
        """The folder of the variant `multimodal` or `text`, which need not exist."""
        return VariantFolder(self.path / name)

    @property
    def variants(self) -> list[VariantFolder]:
        """The existing variants, multimodal before text; a variant's folder has itself as its only one.

        Raises:
            UserError: not a run directory.
        """
        found = [VariantFolder(file.parent) for file in sorted(self.path.glob(f"*/{CONFIG}"))]
        if not found and VariantFolder(self.path).is_trained:
            found = [VariantFolder(self.path)]
        if not found:
            raise UserError(f"{self.path}: not a run directory: no variant's folder in it holds a {CONFIG}")
        return found


@dataclass(frozen=True)
class VariantFolder:
    """One trained adapter with everything that was recorded about it."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def run(self) -> RunFolder:
        """The run that it lies in, or itself if taken out of one."""
        return RunFolder(self.path.parent if (self.path.parent / CONFIG).is_file() else self.path)

    @property
    def config(self) -> RunConfig:
        """As `RunFolder.config`."""
        return RunFolder(self.path).config

    @property
    def config_file(self) -> Path:
        return self.path / CONFIG

    @property
    def is_trained(self) -> bool:
        """Whether its training has ended: the adapter is written last."""
        return (self.path / ADAPTER_CONFIG).is_file()

    @property
    def card(self) -> Path:
        return self.path / ADAPTER_CARD

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def previous_checkpoint(self) -> Path:
        return self.path / "checkpoint.previous.safetensors"

    @property
    def prompt_attention(self) -> Path:
        return self.path / "attention.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    def answers(self, split: str | None = None, scoring: str | None = None) -> StoredAnswers:
        """The answers to a split by a scoring, by default the run's own. They need not exist."""
        config = self.config
        other = [split] if split not in (None, config.split) else []
        other += [scoring] if scoring not in (None, config.scoring) else []
        return StoredAnswers(self, "".join(f"-{part}" for part in other))


@dataclass(frozen=True)
class StoredAnswers:
    """The files of one variant's answers to one split by one scoring."""

    variant: VariantFolder
    suffix: str = ""

    @property
    def predictions(self) -> Path:
        return self.variant.path / f"predictions{self.suffix}.parquet"

    @property
    def controls(self) -> Path:
        """The same model's answers with other images and option orders."""
        return self.variant.path / f"controls{self.suffix}.parquet"

    @property
    def controls_summary(self) -> Path:
        """Summary of those answers."""
        return self.controls.with_suffix(".json")

    @property
    def unfinished_controls(self) -> Path:
        """Folder of those answers until all are there."""
        return self.controls.with_name(f"{self.controls.stem}-unfinished")
