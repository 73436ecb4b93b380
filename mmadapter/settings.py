"""A run's configuration as a file: YAML in, YAML out, unknown names refused."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

from mmadapter.config import RunConfig
from mmadapter.errors import UserError

CONFIG_FILE = "config.yaml"


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
    """The settings in a YAML file, by name; not all need be there.

    Raises:
        UserError: no such file, no YAML, or a name that is no setting.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read this configuration: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    known = [field.name for field in fields(RunConfig)]
    if not isinstance(values, dict) or (unknown := [name for name in values if name not in known]):
        wrong = f"no such setting: {', '.join(map(str, unknown))}" if isinstance(values, dict) else "no settings in it"
        raise UserError(f"{path}: {wrong}\n  settings: {', '.join(known)}")
    return values


def differences(path: Path, config: RunConfig) -> list[str]:
    """Names of the settings in which a saved configuration is another one; the place of a run is none."""
    saved, now = read_settings(path), _plain(config)
    return [name for name, value in now.items() if name != "output_dir" and saved.get(name) != value]
