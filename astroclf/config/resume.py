"""The config of a stopped run that is gone on with: the run's own, with the changes that its checkpoint allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from astroclf.config.validate import config_from_plain
from astroclf.errors import ConfigError
from astroclf.settings.base import CHANGEABLE, Settings
from astroclf.settings.config import Config
from astroclf.settings.yaml_files import config_dir
from astroclf.util.text import nearest


def changeable() -> list[str]:
    """Return the keys that may change in the middle of a run; those of a whole group as ``tracking.*``.

    Anything else would make the checkpoint's tensors or position mean something different: that is a new run.
    """
    names: list[str] = []
    for name, key in Config.declared().items():
        if isinstance(key.type, type) and issubclass(key.type, Settings):
            marked = key.type.marked(CHANGEABLE)
            names += [f"{name}.*"] if len(marked) == len(key.type.declared()) else [f"{name}.{each}" for each in marked]
    return sorted(names)


def split_changes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the command-line arguments of a resumed run: those for Hydra, and changes to the run's own config.

    The run's config may have keys that the default composition lacks, so Hydra never sees the changes.
    """
    if not any(argument.startswith("resume=") for argument in arguments):
        return list(arguments), []
    changes = [a for a in arguments if "=" in a and not a.startswith(("resume=", "hydra.", "hydra/", "-"))]
    return [argument for argument in arguments if argument not in changes], changes


def resumed_config(folder: Path, resume: str, changes: Sequence[str] = ()) -> Config:
    """Return the typed config of the stopped run in a folder, with changes; `resume` is what named the run.

    Raises
    ------
    ConfigError
        A run of another version; a change that a run in progress cannot take, or a key that it has not.
    """
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    try:
        _typed(saved)
    except ConfigError as error:
        raise ConfigError(f"{folder} cannot go on with this version of astroclf. {error}") from error
    if changes and (folder / "metrics.json").is_file():
        raise ConfigError(
            f"{folder} is complete: {', '.join(changes)} cannot change it any more. Leave that out, or start a new run."
        )
    for override in OverridesParser.create().parse_overrides(list(changes)):
        key = override.key_or_group
        if key == "tracking" and override.value() == "none":
            saved.tracking = OmegaConf.load(config_dir() / "tracking" / "none.yaml")
            continue
        names = list(dotted_keys(saved))
        if "." in key and key not in names:
            raise ConfigError(f"'{key}' is no key of {folder / 'config.yaml'}. {nearest(key, names)}")
        if not {key, f"{key.partition('.')[0]}.*"} & set(changeable()):
            raise ConfigError(
                f"'{key}' cannot change in a resumed run. Leave it out, or start a new run. These can: "
                f"{', '.join(changeable())}; and tracking=none."
            )
        OmegaConf.update(saved, key, override.value())
    saved.resume = str(resume)
    return _typed(saved)


def _typed(saved: DictConfig) -> Config:
    plain = OmegaConf.to_container(saved, resolve=True)
    assert isinstance(plain, dict)
    return config_from_plain({str(key): value for key, value in plain.items()})


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield every key below a config node, as people type it."""
    for key in node if isinstance(node, DictConfig) else ():
        yield f"{prefix}{key!s}"
        yield from dotted_keys(node._get_node(key), f"{prefix}{key!s}.")
