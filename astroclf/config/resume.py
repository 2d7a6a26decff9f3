"""The config of a stopped run that is gone on with: the run's own, with the changes that its checkpoint allows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from astroclf.config.validate import Schema, settings_from_plain
from astroclf.errors import ConfigError
from astroclf.settings.base import CHANGEABLE, Settings
from astroclf.settings.config import Config, PretrainConfig
from astroclf.settings.yaml_files import config_dir, yaml_values
from astroclf.util.logs import log
from astroclf.util.text import nearest


def changeable(schema: type[Settings] = Config) -> list[str]:
    """Return the keys that may change in the middle of a run; docs/training.md says what each then does.

    Anything else would make the checkpoint's tensors or position mean something different: that is a new run.
    """
    return sorted(
        f"{name}.{each}"
        for name, key in schema.declared().items()
        if isinstance(key.type, type) and issubclass(key.type, Settings)
        for each in key.type.marked(CHANGEABLE)
    )


def split_changes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the command-line arguments of a resumed run: those for Hydra, and changes to the run's own config.

    The run's config may have keys that the default composition lacks, so Hydra never sees the changes.
    """
    if not any(argument.lstrip("+").startswith("resume=") for argument in arguments):
        return list(arguments), []
    for_hydra = ("resume=", "hydra.", "hydra/", "-")
    changes = [argument for argument in arguments if not argument.lstrip("+~").startswith(for_hydra)]
    return [argument for argument in arguments if argument not in changes], changes


def resumed_config(schema: type[Schema], folder: Path, resume: str, changes: Sequence[str] = ()) -> Schema:
    """Return the typed config of the stopped run in a folder, with changes; `resume` is what named the run.

    Raises
    ------
    ConfigError
        A run of another version; a change that a run in progress cannot take, or a key that it has not.
    """
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    _refuse_other_verb(saved, schema, resume)
    _add_new_keys(saved, schema)
    try:
        _typed(saved, schema)
    except ConfigError as error:
        raise ConfigError(
            f"{folder} cannot go on with this version of astroclf. {error} Go on with the version that began it, or "
            "start a new run."
        ) from error
    metrics = folder / "metrics.json"
    # A trial of a sweep has metrics, but none of a test yet.
    last = "pretraining/images" if schema is PretrainConfig else "test/accuracy"
    if changes and metrics.is_file() and last in json.loads(metrics.read_text(encoding="utf-8")):
        raise ConfigError(
            f"{folder} is complete: {', '.join(changes)} cannot change it any more. Leave that out, or start a new run."
        )
    overrides = OverridesParser.create().parse_overrides(list(changes))
    for override in overrides:
        _change(saved, override, folder, changeable(schema))
    changed = {override.key_or_group for override in overrides}
    if "trainer.validate_every" in changed and saved.trainer.validate_every_steps is not None:
        raise ConfigError(
            f"'trainer.validate_every' would change nothing: this run validates every "
            f"{saved.trainer.validate_every_steps} steps. Add trainer.validate_every_steps=null."
        )
    saved.resume = str(resume)
    return _typed(saved, schema)


def _change(saved: DictConfig, override: Override, folder: Path, can: Sequence[str]) -> None:
    """Make one change to a run's own config, if that is one that a run in progress can take."""
    key = override.key_or_group
    if override.type is not OverrideType.CHANGE:
        raise ConfigError(
            f"'{override.input_line}' cannot be: a resumed run gets no keys and loses none. Write {key}=..., with null "
            "for no value."
        )
    if key == "tracking" and override.value() == "none":
        saved.tracking = OmegaConf.load(config_dir() / "tracking" / "none.yaml")
        return
    names = list(dotted_keys(saved))
    if "." in key and key not in names:
        raise ConfigError(f"'{key}' is no key of {folder / 'config.yaml'}. {nearest(key, names)}")
    if key not in can:
        raise ConfigError(
            f"'{key}' cannot change in a resumed run. Leave it out, or start a new run. These can: "
            f"{', '.join(can)}; and tracking=none."
        )
    OmegaConf.update(saved, key, override.value())


def _refuse_other_verb(saved: DictConfig, schema: type[Settings], resume: str) -> None:
    """Refuse a run of another verb: a training, or a pretraining."""
    for verb, other in (("train", Config), ("pretrain", PretrainConfig)):
        if other is not schema and set(saved) == other.declared().keys():
            raise ConfigError(f"resume={resume} is a run of `astroclf {verb}`. Go on with it by that verb.")


def _add_new_keys(saved: DictConfig, schema: type[Schema]) -> None:
    """Give a run of an earlier version the default values of keys that are new since and may change in a run."""
    defaults = yaml_values("config" if schema is Config else "pretrain")
    defaults["trainer"] = yaml_values("trainer/default") | defaults.get("trainer", {})
    for name in changeable(schema):
        section, key = name.split(".")
        absent = isinstance(saved.get(section), DictConfig) and key not in saved[section]
        if absent and key in defaults.get(section, {}):
            saved[section][key] = defaults[section][key]
            log.warning(
                "The run began with a version that had no %s: it goes on with %s, the default.",
                name, json.dumps(defaults[section][key]),
            )  # fmt: skip


def _typed(saved: DictConfig, schema: type[Schema]) -> Schema:
    plain = OmegaConf.to_container(saved, resolve=True)
    assert isinstance(plain, dict)
    return settings_from_plain({str(key): value for key, value in plain.items()}, schema)


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield every key below a config node, as people type it."""
    for key in node if isinstance(node, DictConfig) else ():
        yield f"{prefix}{key!s}"
        yield from dotted_keys(node._get_node(key), f"{prefix}{key!s}.")
