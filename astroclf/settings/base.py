"""Settings in general: a dataclass whose annotations say of each key its type, its range and what else holds for it.

A key is written ``epochs: Annotated[int, at_least(1), CHANGEABLE]``. There are no default values: those stand in the
yaml files. In a group that people extend, a key that only some choices have is ``Annotated[float | Absent, ...] =
ABSENT``.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache, reduce
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    NamedTuple,
    NoReturn,
    Self,
    get_args,
    get_origin,
    get_type_hints,
)

from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import yaml_values
from astroclf.util.text import nearest


class Absent(Enum):
    """The value of a key that the chosen yaml has not got: it is false, so that ``settings.uri or None`` reads well."""

    ABSENT = "absent"

    def __bool__(self) -> Literal[False]:
        return False


ABSENT: Final = Absent.ABSENT


class Mark(Enum):
    """What holds for a key beside its type and its range."""

    PATH = "path"
    PATH_OR_NAME = "path or name"
    STORE = "store"
    FOR_THE_RUN = "for the run"
    READING = "reading"
    CHANGEABLE = "changeable"


PATH = Mark.PATH  # a file or folder: made absolute, and ~ is the home folder
PATH_OR_NAME = Mark.PATH_OR_NAME  # as a path where it looks like one, otherwise left as it is: weights, a model
STORE = Mark.STORE  # the address of MLflow's records: null is the environment's, and that of a file becomes absolute
FOR_THE_RUN = Mark.FOR_THE_RUN  # read by the run itself, so that the class that is built need not take it
READING = Mark.READING  # a part of `reading`, which the class that is built takes in place of it
CHANGEABLE = Mark.CHANGEABLE  # may be changed in a resumed run: the checkpoint means the same with any value


@dataclass(frozen=True)
class Range:
    """The numbers that a key takes; null and absent keys have none."""

    at_least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def holds(self, value: float) -> bool:
        """Return whether the number lies in the range; NaN lies in none."""
        return value >= self.at_least and value > self.above and value < self.below

    def __str__(self) -> str:
        limits = {"at least": self.at_least, "above": self.above, "below": self.below}
        return " and ".join(f"{words} {limit}" for words, limit in limits.items() if math.isfinite(limit))


def at_least(low: float) -> Range:
    """Return the range of numbers from `low` on."""
    return Range(at_least=low)


def above(low: float) -> Range:
    """Return the range of numbers larger than `low`."""
    return Range(above=low)


FRACTION = Range(at_least=0, below=1)


class Key(NamedTuple):
    """One key of a settings class, as its annotation has it.

    Attributes
    ----------
    type
        The annotation without `Annotated` and `Absent`.
    optional
        Whether a yaml may leave it out.
    """

    name: str
    type: Any
    optional: bool
    rules: tuple[Any, ...]


def _key(name: str, hint: Any) -> Key:
    rules: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        rules, hint = hint.__metadata__, get_args(hint)[0]
    parts = get_args(hint)
    if Absent not in parts:
        return Key(name, hint, False, rules)
    return Key(name, reduce(operator.or_, (part for part in parts if part is not Absent)), True, rules)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: checks the range or the choices of each key when it is made.

    Raises
    ------
    ConfigError
        A value is out of range, or none of the choices; the message names its key as people type it.
    """

    section: ClassVar[str] = ""  # where the keys stand in the configuration

    def __post_init__(self) -> None:
        for key in self.declared().values():
            value = getattr(self, key.name)
            if get_origin(key.type) is Literal and value is not ABSENT and value not in get_args(key.type):
                choices = ", ".join(map(str, get_args(key.type)))
                raise ConfigError(f"{self.full_name(key.name)}={value} cannot be: choose one of {choices}.")
            for rule in key.rules:
                if isinstance(rule, Range) and isinstance(value, (int, float)) and not rule.holds(value):
                    finite = "" if isinstance(value, int) or math.isfinite(value) else "a finite number "
                    raise ConfigError(f"'{self.full_name(key.name)}' is {value}; it must be {finite}{rule}.")

    @classmethod
    @cache
    def declared(cls) -> dict[str, Key]:
        """Return the keys by name, those of the class itself before those of its bases."""
        hints = get_type_hints(cls, include_extras=True)
        classes = [each for each in cls.__mro__ if each not in (Settings, SectionSettings, ComponentSettings)]
        return {name: _key(name, hints[name]) for each in classes for name in inspect.get_annotations(each)}

    @classmethod
    def full_name(cls, key: str) -> str:
        """Return a key as people type it."""
        return f"{cls.section}.{key}" if cls.section else key

    @classmethod
    def marked(cls, mark: Mark) -> set[str]:
        """Return the names of the keys that carry a mark."""
        return {key.name for key in cls.declared().values() if mark in key.rules}

    def values(self) -> dict[str, Any]:
        """Return the keys that are there, with their typed values."""
        given = {name: getattr(self, name) for name in self.declared()}
        return {name: value for name, value in given.items() if value is not ABSENT}

    def to_plain(self) -> dict[str, Any]:
        """Return the keys that are there, as yaml and JSON hold them."""
        return {name: _plain(value) for name, value in self.values().items()}


@dataclass(frozen=True, kw_only=True)
class SectionSettings(Settings):
    """Base of a section inside a group: it can be made of a few keys, the others being as in the group's yaml."""

    yaml: ClassVar[str] = ""  # the file in which the section stands with its defaults

    @classmethod
    def with_defaults(cls, **changes: Any) -> Self:
        """Return the settings of the yaml file, with changes.

        Raises
        ------
        ConfigError
            A change of a key that there is not; or as the class.
        """
        defaults = _section_of(cls.yaml, cls.section.rpartition(".")[2])
        for key in changes:
            if key not in defaults:
                raise ConfigError(f"{cls.full_name(key)} is no key of {cls.section}. {nearest(key, defaults)}")
        return cls(**(defaults | changes))

    def refuse(self, name: str, rule: str) -> NoReturn:
        """Refuse the value of a key; `rule` says what it could be."""
        raise ConfigError(f"{self.full_name(name)}={getattr(self, name)} cannot be: {rule}.")


@cache
def _section_of(file: str, name: str) -> dict[str, Any]:
    return yaml_values(file)[name]


@dataclass(frozen=True, kw_only=True)
class ComponentSettings(Settings):
    """Base of the groups that people extend: a class to build, and the values that it takes.

    Attributes
    ----------
    target
        The dotted name of the class: ``_target_`` in yaml.
    options
        What the chosen yaml has beside the keys that this settings class declares.
    """

    target: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return the keys that are there, declared ones first, with their typed values."""
        return {**super().values(), **self.options}

    def to_plain(self) -> dict[str, Any]:
        """Return the keys that are there as yaml holds them, with ``_target_`` first."""
        return {"_target_": self.target, **super().to_plain()}


def _plain(value: Any) -> Any:
    return value.to_plain() if isinstance(value, Settings) else value
