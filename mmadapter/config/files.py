"""A run's configuration as a file: YAML in, YAML out, unknown names refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from mmadapter.config.settings import RunConfig
from mmadapter.errors import UserError
from mmadapter.storage.untrusted import checked_fields, read_bytes

MAX_BYTES = 1 << 16
"""64 KiB; every setting with its value is 1."""
MAX_DEPTH = 3
"""A list in the settings, and one level too many, which its setting refuses by name."""


def config_yaml(config: RunConfig) -> str:
    """Every setting, as `--config` reads it back."""
    import yaml

    return yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True)


def _plain(config: RunConfig) -> dict:
    values = asdict(config)
    values["data_dir"] = [str(folder) for folder in config.data_dir]
    values["output_dir"] = str(config.output_dir) if config.output_dir else None
    return values


def read_settings(path: Path) -> dict:
    """The settings in a YAML file, by name, each of its type; not all need be there, and null is not there.

    Raises:
        UserError: no such file, larger than MAX_BYTES, no YAML, a setting given twice, a name that is no setting, a
            value of another type.
    """
    import yaml

    data = read_bytes(path, MAX_BYTES)
    try:
        depth = 0
        for event in yaml.parse(data, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            # An alias can make billions of values of a few lines; nesting takes the square of its depth.
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
    except (ValueError, RecursionError) as error:  # a date that is none, thousands of digits; nesting of thousands
        raise UserError(f"{path}: not YAML: {error}") from error
    if len(values) < len(names):
        twice = sorted({str(name)[:40] for name in names if names.count(name) > 1})
        raise UserError(f"{path}: settings given twice: {', '.join(twice)}")
    return checked_fields(RunConfig, {name: value for name, value in values.items() if value is not None}, str(path))


def read_config(path: Path) -> RunConfig:
    """The whole configuration in a YAML file; a setting that it lacks has its default.

    Raises:
        UserError: as `read_settings`, or settings that do not go together.
    """
    values = read_settings(path)
    values["data_dir"] = tuple(map(Path, values.get("data_dir", ())))
    if "output_dir" in values:
        values["output_dir"] = Path(values["output_dir"])
    return RunConfig(**values)


def differences(path: Path, config: RunConfig) -> list[str]:
    """Names of the settings in which a saved configuration is another one; the place of a run is none.

    A setting that the file has not was not there yet when it was written, and means its default.
    """
    saved, now = {**_plain(RunConfig()), **read_settings(path)}, _plain(config)
    return [name for name, value in now.items() if name != "output_dir" and saved[name] != value]
