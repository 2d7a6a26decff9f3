"""The options that every verb takes beside ``key=value``: Hydra's, without those that astroclf has no use for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from astroclf.errors import ConfigError

_SWITCHES = {
    "-h": "help", "--help": "help", "--version": "version", "--hydra-help": "hydra_help", "--resolve": "resolve",
    "-m": "multirun", "--multirun": "multirun", "-r": "run", "--run": "run",
}  # fmt: skip
_WITH_VALUE = {
    "-c": "cfg", "--cfg": "cfg", "-p": "package", "--package": "package", "-i": "info", "--info": "info",
    "-cd": "config_dirs", "--config-dir": "config_dirs", "-cn": "config_name", "--config-name": "config_name",
}  # fmt: skip
_VALUES = {
    "cfg": ("job", "hydra", "all"),
    "info": ("all", "aliases", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
_HYDRA_KEY = re.compile(r"[+~]*hydra[./]")
_PLACE_OR_SWEEP = re.compile(r"[+~]*hydra[./](run\.|sweep\.|sweeper\b|launcher\b|mode\b|job\.num)")
OPTION_NAMES = sorted({*_SWITCHES, *_WITH_VALUE})


@dataclass(frozen=True)
class Options:
    """What a command line asks for, apart into options and words.

    Attributes
    ----------
    words
        Everything that is no option: mostly ``key=value``.
    config_dirs
        Folders of yaml files beside ours; the option may be given several times, the first goes before the next.
    unknown
        What looks like an option and is none, each with the word after it, or None.
    """

    help: bool = False
    version: bool = False
    hydra_help: bool = False
    multirun: bool = False
    run: bool = False
    resolve: bool = False
    cfg: str | None = None
    package: str | None = None
    info: str | None = None
    config_dirs: tuple[str, ...] = ()
    config_name: str | None = None
    words: tuple[str, ...] = ()
    unknown: tuple[tuple[str, str | None], ...] = ()

    def sources(self) -> tuple[str, ...]:
        """Return, as they can be typed, the options and words that say which yaml files are read and how is logged.

        Those of Hydra's keys are left out that say where a run's files go, or what a sweep does.
        """
        name = [f"--config-name={self.config_name}"] if self.config_name else []
        hydras = [word for word in self.words if _HYDRA_KEY.match(word) and not _PLACE_OR_SWEEP.match(word)]
        return (*(f"--config-dir={folder}" for folder in self.config_dirs), *name, *hydras)


def read_options(arguments: Sequence[str]) -> Options:
    """Tell options from words; what follows ``--`` is a word whatever it looks like.

    Raises
    ------
    ConfigError
        An option without its value, or with one that it does not take.
    """
    options, rest = Options(), list(arguments)
    words: list[str] = []
    unknown: list[tuple[str, str | None]] = []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            words += rest
            break
        if word in _SWITCHES:
            options = replace(options, **{_SWITCHES[word]: True})  # type: ignore[arg-type]
        elif word in _WITH_VALUE or (name in _WITH_VALUE and name.startswith("--")):
            option = _WITH_VALUE[name]
            if option == "info" and not equals and (not rest or rest[0] not in _VALUES["info"]):
                value = "all"
            elif not equals:
                value = rest.pop(0) if rest else ""
            given: Any = _checked(name, option, value)
            if option == "config_dirs":
                given = (*options.config_dirs, given)
            options = replace(options, **{option: given})
        elif word.startswith("-") and word != "-":
            unknown.append((word, rest[0] if rest and "=" not in word and not rest[0].startswith("-") else None))
        else:
            words.append(word)
    return replace(options, words=tuple(words), unknown=tuple(unknown))


def _checked(name: str, option: str, value: str) -> str:
    values = _VALUES.get(option)
    if values is not None and value not in values:
        raise ConfigError(f"{name} takes one of {', '.join(values)}, such as {name} {values[0]}.")
    if not value:
        raise ConfigError(f"{name} needs a value after it.")
    return value
