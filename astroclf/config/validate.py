"""Composed yaml is checked here, and becomes typed settings.

Hydra composes plain yaml; `typed` checks each key and value against the dataclasses of `astroclf.settings`, so that a
misspelt one is refused by its nearest valid name before torch is imported. Groups that people extend may carry keys of
their own: those that the chosen yaml declares, with the type of the value there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from astroclf.errors import ConfigError
from astroclf.evaluation.metrics import MONITORS
from astroclf.settings.base import PATH, PATH_OR_NAME, STORE, ComponentSettings, Key, Settings
from astroclf.settings.components import check_target
from astroclf.settings.config import GROUPS, Config
from astroclf.tracking.address import chosen_uri
from astroclf.util.text import nearest

Schema = TypeVar("Schema", bound=Settings)

_MISSING = "???"  # OmegaConf's mark for a value that is not there yet
_MADE_FROM: dict[Any, tuple[type, ...]] = {
    int: (int, str),
    float: (int, float, str),
    bool: (bool, int, str),
    str: (int, float, str),
    list: (list, tuple),
    dict: (Mapping,),
}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def typed(composed: DictConfig, declared: Mapping[str, Mapping[str, Any]], schema: type[Schema]) -> Schema:
    """Check a composed config, key by key, and return it typed; relative paths become absolute.

    Parameters
    ----------
    composed
        What Hydra composed (without the ``hydra`` node).
    declared
        For each group that people extend, the keys and default values of the chosen yaml file.
    schema
        `Config`, or the settings of another verb: its keys are groups, sections and single values.

    Raises
    ------
    ConfigError
        An unknown key, a value of the wrong type or out of range, or a mandatory value that is missing.
    """
    try:
        plain = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"The configuration does not resolve: {error}") from error
    assert isinstance(plain, dict)
    known = schema.declared()
    for name in map(str, plain):
        if name not in known:
            raise ConfigError(f"'{name}' is no key of the configuration. {nearest(name, known)}")
    parts: dict[str, Any] = {}
    for name, key in known.items():
        if isinstance(key.type, type) and issubclass(key.type, ComponentSettings):
            parts[name] = _component(key.type, plain.get(name) or {}, declared.get(name, {}))
        elif _is_section(key.type):
            parts[name] = typed_section(key.type, plain.get(name) or {})
        elif plain.get(name) == _MISSING:
            raise ConfigError(f"'{name}' has no value yet. Give it on the command line: {name}=...")
        elif name in plain:
            parts[name] = _value(key, name, plain[name])
        else:
            raise ConfigError(f"The configuration lacks {name}.")
    config = schema(**parts)
    if isinstance(config, Config) and config.monitor not in MONITORS:
        raise ConfigError(f"'monitor' cannot be {config.monitor!r}. {nearest(config.monitor, MONITORS)}")
    return config


def config_from_plain(plain: Mapping[str, Any]) -> Config:
    """Return the typed form of the resolved ``config.yaml`` of a training's run folder."""
    return settings_from_plain(plain, Config)


def settings_from_plain(plain: Mapping[str, Any], schema: type[Schema]) -> Schema:
    """Return the typed form of a resolved ``config.yaml``, whose groups declare their own keys."""
    declared = {group: plain.get(group) or {} for group in GROUPS}
    return typed(OmegaConf.create(dict(plain)), declared, schema)


def _component(settings: type[ComponentSettings], given: Mapping[str, Any], declared: Mapping[str, Any]) -> Any:
    """Make the settings of a group from the composed values and the chosen yaml's own."""
    group, known = settings.section, settings.declared()
    parts: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for key, value in given.items():
        name = settings.full_name(key)
        if value == _MISSING:
            raise ConfigError(f"'{name}' has no value yet. Give it on the command line: {name}=...")
        if key not in declared:
            valid = {f"{group}.{k}" for k in declared if not k.startswith("_")}
            raise ConfigError(
                f"'{name}' is no key of the chosen {group}. {nearest(name, valid)} If an experiment sets it for "
                f"another {group}, leave it out with '~{name}'."
            )
        if key in known:
            hint = known[key].type
            parts[key] = typed_section(hint, value) if _is_section(hint) else _value(known[key], name, value)
        elif key != "_target_":
            options[key] = _like(name, declared[key], value)
    target = given.get("_target_")
    if target is None:
        raise ConfigError(f"The chosen {group} names no class: its yaml needs a `_target_` line.")
    check_target(group, str(target))
    _refuse_incomplete(settings, f"The chosen {group}", parts)
    return settings(target=str(target), options=options, **parts)


def typed_section(settings: type[Schema], given: Any) -> Schema:
    """Check the values of one section, key by key, and return its settings.

    Raises
    ------
    ConfigError
        As `typed`.
    """
    name, known = settings.section, settings.declared()
    if not isinstance(given, Mapping):
        example = settings.full_name(next(iter(known)))
        raise ConfigError(f"'{name}' cannot be {given!r}: it holds keys of its own, such as {example}.")
    for key in map(str, given):
        if key not in known:
            full = settings.full_name(key)
            raise ConfigError(f"'{full}' is no key of {name}. {nearest(full, map(settings.full_name, known))}")
    parts: dict[str, Any] = {}
    for key, value in given.items():
        hint, full = known[key].type, settings.full_name(key)
        parts[key] = typed_section(hint, value) if _is_section(hint) else _value(known[key], full, value)
    _refuse_incomplete(settings, f"The {name} section", parts)
    return settings(**parts)


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _refuse_incomplete(settings: type[Settings], where: str, parts: Mapping[str, Any]) -> None:
    if absent := [name for name, key in settings.declared().items() if not key.optional and name not in parts]:
        raise ConfigError(f"{where} lacks {', '.join(map(settings.full_name, absent))}.")


# ---- one value ------------------------------------------------------------------------------------------------------


def _value(key: Key, name: str, value: Any) -> Any:
    """Give a value the type of its key, and make a path or address absolute: a run can be resumed from anywhere."""
    if STORE in key.rules:
        return chosen_uri(_typed_value(name, str | None, value))
    converted = _typed_value(name, key.type, value)
    if not isinstance(converted, str) or not converted:
        return converted
    is_path = PATH in key.rules or (PATH_OR_NAME in key.rules and _looks_like_a_path(converted))
    if is_path and "://" not in converted:
        return str(Path(converted).expanduser().absolute())
    return converted


def _looks_like_a_path(text: str) -> bool:
    has_scheme = re.match(r"\w+:/|hf[-_]hub:", text) is not None  # models:/galaxy10@champion, hf_hub:timm/resnet18
    return not has_scheme and ("/" in text or text.startswith("~") or Path(text).is_file())


def _like(name: str, default: Any, value: Any) -> Any:
    """Give a value the type of the one in the yaml that declares its key; null and interpolations take anything."""
    if default is None or value is None or default == _MISSING or "${" in str(default):
        return value
    return _typed_value(name, type(default), value, example=f", such as {default!r}")


def _typed_value(name: str, hint: Any, value: Any, example: str = "") -> Any:
    try:
        return convert(hint, value)
    except ValueError as error:
        is_choice = get_origin(hint) is Literal
        remedy = nearest(str(value), get_args(hint)) if is_choice else f"Give {_words(hint, value)}{example}."
        raise ConfigError(f"'{name}' cannot be {value!r}. {remedy}") from error


def convert(hint: Any, value: Any) -> Any:
    """Return a value as a type holds it: text that is a number becomes one, a number where text is wanted its text.

    Raises
    ------
    ValueError
        The type holds no such value.
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return None if value is None and NoneType in parts else _convert_to_one_of(parts, value)
    if kind is Any or (kind is Literal and value in parts):
        return value
    possible = isinstance(value, _MADE_FROM.get(kind, ())) and not (kind in (int, float) and isinstance(value, bool))
    if not possible:
        raise ValueError(value)
    if kind is bool:
        return _boolean(value)
    if kind is list:
        return [convert(parts[0] if parts else Any, item) for item in value]
    return kind(value)


def _boolean(value: Any) -> bool:
    text = str(value).lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(value)
    return text in _TRUE


def _convert_to_one_of(parts: tuple[Any, ...], value: Any) -> Any:
    hints = [part for part in parts if part is not NoneType]
    if len(hints) == 1:
        return convert(hints[0], value)
    for hint in hints:  # of several, the one that holds the value as it is
        try:
            if (converted := convert(hint, value)) == value:
                return converted
        except ValueError:
            pass
    raise ValueError(value)


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", dict: "keys and values"}


def _words(hint: Any, value: Any) -> str:
    """Say in words what a type takes."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(part, value) for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if list in (hint, get_origin(hint)):
        return f"a list, such as [{value if get_args(hint) == (str,) else 'a,b'}]"
    return _WORDS.get(get_origin(hint) or hint, "something else")
