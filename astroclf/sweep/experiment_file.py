"""A trial's command line as an experiment file, which composes what the trial was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import OmegaConf

from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.util.atomic import write_text


def write_experiment(
    path: str | Path, overrides: Sequence[str], comment: str, config: Mapping[str, Any] | None = None
) -> Path:
    """Write overrides as a file for ``conf/experiment``: ``experiment=NAME`` then composes what they composed.

    What only steers a sweep (``hydra.*``, ``sweep=``) is left out. An experiment among the overrides is built upon.

    Parameters
    ----------
    overrides
        As on the command line: ``backbone=resnet18``, ``optimizer.lr=0.0003``, ``+key=value``.
    comment
        Lines that open the file.
    config
        The plain config that the overrides composed; needed only where one sets a single element of a list
        (``optimizer.betas.0=0.8``), which a yaml file can only hold whole.

    Raises
    ------
    ConfigError
        An override that takes a key away (``~key``), which no yaml file can do.
    """
    experiments: list[str] = []
    choices: list[dict[str, Any]] = []
    values = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if key.partition("/")[0].partition(".")[0] == "hydra" or key == "sweep":
            continue
        if key == "experiment":
            experiments = [str(name) for name in (value if isinstance(value, list) else [value])]
        elif (config_dir() / key).is_dir() and not isinstance(value, dict):
            choices.append(_choice(override))
        elif override.type == OverrideType.DEL:
            raise ConfigError(
                f"{override.input_line} cannot be kept in {Path(path).name}: an experiment file can set a key, but not "
                "take it away. Give the key a value instead, such as null."
            )
        else:
            place, value = _whole_lists(key, value, config)
            OmegaConf.update(values, place, value, merge=True, force_add=True)
    text = "# @package _global_\n" + "".join(f"# {line}\n" for line in comment.splitlines())
    if experiments or choices:
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": [*experiments, *choices]}))
    if values:
        text += OmegaConf.to_yaml(values)
    write_text(path, text)
    return Path(path)


def _choice(override: Override) -> dict[str, Any]:
    """Return an entry of a defaults list."""
    group = f"/{override.key_or_group}" + (f"@{override.package}" if override.package else "")
    is_new = override.type in (OverrideType.ADD, OverrideType.FORCE_ADD)
    return {group if is_new else f"override {group}": override.value()}


def _whole_lists(key: str, value: Any, config: Mapping[str, Any] | None) -> tuple[str, Any]:
    """Return a key and its value; of one that names an element of a list, the list and all its values."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    index = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    if index is None:
        return key, value
    place = ".".join(parts[:index])
    whole = OmegaConf.select(OmegaConf.create(dict(config or {})), place)
    if whole is None:
        raise ConfigError(f"{key} sets one element of a list; give the whole list, {place}=[...], instead.")
    return place, OmegaConf.to_container(whole) if OmegaConf.is_config(whole) else whole
