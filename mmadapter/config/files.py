"""A configuration as a YAML file: every setting on a line, unknown names refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.storage.untrusted import checked_fields, read_bytes

MAX_BYTES = 1 << 16
"""64 KiB; every setting with its value takes 1."""
MAX_DEPTH = 3
"""One list, and one level too many, which its setting refuses by name."""
ELSEWHERE = ("output_dir", "threads", "track")
"""Settings in which a run may differ when it goes on."""
DROPPED = {"clip_norm": 1.0, "prompt_unit": "one", "resume": False, "tensorboard": False}
"""Settings that older runs saved, with the only value that can still be read."""


def config_yaml(config: RunConfig) -> str:
    """Every setting, as `--config` reads it back."""
    import yaml

    values = asdict(config)
    values["data_dir"] = [str(folder) for folder in config.data_dir]
    values["output_dir"] = str(config.output_dir) if config.output_dir else None
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings in a YAML file by name, each of its type. Not all need be there; null counts as absent.

    Raises:
        UserError: no such file, larger than MAX_BYTES, no YAML, a setting given twice, an unknown setting, a value of
            another type.
    """
    import yaml

    data = read_bytes(path, MAX_BYTES)
    try:
        depth = 0
        for event in yaml.parse(data, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # An alias can make billions of values from a few lines; nesting costs the square of its depth.
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                what = "aliases (*name)" if depth <= MAX_DEPTH else "lists in lists"
                raise UserError(f"{path}: line {event.start_mark.line + 1}: {what} are not read")
        loader = yaml.SafeLoader(data)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}: no settings in it: a setting is a line such as `epochs: 3`")
        names = [name.value for name, _ in node.value]
        values = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, RecursionError) as error:  # an impossible date, thousands of digits; deep nesting
        raise UserError(f"{path}: not YAML: {error}") from error
    if len(values) < len(names):
        twice = sorted({str(name)[:40] for name in names if names.count(name) > 1})
        raise UserError(f"{path}: settings given twice: {', '.join(twice)}")
    values = {name: value for name, value in values.items() if value is not None and not _is_dropped(name, value)}
    checked = checked_fields(RunConfig, values, str(path))
    if "data_dir" in checked:
        checked["data_dir"] = tuple(map(Path, checked["data_dir"]))
    if "output_dir" in checked:
        checked["output_dir"] = Path(checked["output_dir"])
    return checked


def _is_dropped(name: Any, value: Any) -> bool:
    return isinstance(name, str) and name in DROPPED and value == DROPPED[name]


def read_config(path: Path) -> RunConfig:
    """Read a whole configuration; a setting that the file lacks has its default.

    Raises:
        UserError: as `read_settings`, or settings that do not go together.
    """
    settings = read_settings(path)
    try:
        return RunConfig(**settings)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def differences(path: Path, config: RunConfig) -> list[str]:
    """Name the settings in which a saved configuration differs, without those of `ELSEWHERE`.

    A setting that the file lacks was not there yet when it was written, and means its default.
    """
    saved, now = asdict(RunConfig()) | read_settings(path), asdict(config)
    return [name for name, value in now.items() if name not in ELSEWHERE and saved[name] != value]
