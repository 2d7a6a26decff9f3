"""The groups, choices and keys that a verb understands, and the ones that a wrong one may have been meant for."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig

from astroclf.cli.adapter import HydraSession
from astroclf.config.resume import dotted_keys
from astroclf.settings.base import Key, Settings

# Of Hydra's own keys, the ones whose value is a text: taken as it stands.
HYDRA_TEXTS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.study_name", "hydra.sweeper.storage")
_HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweeper.")  # those that people set
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Vocabulary:
    """What one verb understands, read from its yaml files and its settings."""

    def __init__(self, session: HydraSession, settings: type[Settings]) -> None:
        self.session, self.settings = session, settings

    @cached_property
    def groups(self) -> dict[str, str | None]:
        """The verb's config groups, each with its default choice: None where it may be left without one."""
        found: dict[str, str | None] = {}
        for file in self._wholes:
            for entry in file.get("defaults", []):
                for group, choice in entry.items() if isinstance(entry, dict) else ():
                    if not group.startswith("override "):
                        found[group] = choice
        return found

    @cached_property
    def _whole_names(self) -> list[str]:
        """The names of the verb's own yaml file, and before it of that of a verb whose keys it has all."""
        name = self.session.config_name
        entries = self._read(name).get("defaults", [])
        bases = [
            entry for entry in entries if isinstance(entry, str) and not entry.startswith("_") and "/" not in entry
        ]
        return [*bases, name]

    @cached_property
    def _wholes(self) -> list[dict[str, Any]]:
        return [self._read(name) for name in self._whole_names]

    def _read(self, name: str) -> dict[str, Any]:
        path = self.session.find(f"{name}.yaml")
        return {} if path is None else yaml.load(path.read_text(encoding="utf-8"), _LOADER)

    def choices(self, group: str) -> list[str]:
        """Return the choices of a group, without the files that other choices are built on."""
        found = self.session.loader.get_group_options(group, ObjectType.CONFIG)
        return sorted(name for name in found if not name.startswith("_"))

    @cached_property
    def typed_keys(self) -> dict[str, Key]:
        """The keys that the settings declare, by their dotted names."""
        return dict(_typed_keys(self.settings))

    @cached_property
    def texts(self) -> frozenset[str]:
        """The keys whose value is a text, so that it can be taken as it stands: paths, names, reasons."""
        declared = {name for name, key in self.typed_keys.items() if key.type in (str, str | None)}
        return frozenset({*HYDRA_TEXTS, *declared})

    def values(self, key: str) -> list[str]:
        """Return the values of a key that takes one of a few words, and none for any other key."""
        declared = self.typed_keys.get(key)
        if declared is None:
            return []
        hints = declared.type, *get_args(declared.type)
        words = [str(value) for hint in hints if get_origin(hint) is Literal for value in get_args(hint)]
        return [*words, "false", "true"] if bool in hints else words

    def keys(self, composed: DictConfig) -> set[str]:
        """Return the keys of a composition that people set: all but most of Hydra's own."""
        return {
            key
            for key in dotted_keys(composed)
            if not key.endswith("_target_") and (not key.startswith("hydra") or key.startswith(_HYDRA_KEYS))
        }

    def comments(self, group: str, choice: str) -> dict[str, str]:
        """Return every key that a choice of a group brings, with the comment beside it."""
        found: dict[str, str] = {}
        for path in self._files(group, choice):
            text = path.read_text(encoding="utf-8")
            prefix = "" if text.startswith("# @package _global_") else f"{group}."
            found |= {f"{prefix}{key}": comment for key, comment in commented_keys(text).items()}
        return found

    def own_comments(self) -> dict[str, str]:
        """Return the keys of the verb's own yaml file and of the parts that it includes, with the comments beside."""
        found: dict[str, str] = {}
        for file in self._wholes:
            for entry in file.get("defaults", []):
                if isinstance(entry, str) and "/" in entry:
                    found |= self.comments(*entry.split("/", 1))
        paths = [self.session.find(f"{name}.yaml") for name in self._whole_names]
        return reduce(operator.or_, (commented_keys(p.read_text(encoding="utf-8")) for p in paths if p), found)

    @cached_property
    def keys_by_choice(self) -> dict[str, dict[str, set[str]]]:
        """The keys that each choice brings, by group and choice; recipes, which only override others', bring none."""
        return {
            group: {choice: set(self.comments(group, choice)) for choice in self.choices(group)}
            for group, default in self.groups.items()
            if default is not None
        }

    def choices_with(self, key: str) -> list[str]:
        """Return the choices that have a key, such as ``galaxy10_sim`` for ``dataset.samples``."""
        by_choice = self.keys_by_choice.get(key.partition(".")[0], {})
        return [choice for choice, keys in by_choice.items() if key in keys]

    def _files(self, group: str, choice: str) -> list[Path]:
        """Return the yaml files of a choice: those that it builds on, then its own."""
        path = self.session.find(f"{group}/{choice}.yaml")
        if path is None:
            return []
        entries = yaml.load(path.read_text(encoding="utf-8"), _LOADER).get("defaults", [])
        bases = [entry for entry in entries if isinstance(entry, str) and entry != "_self_"]
        return [*(file for base in bases for file in self._files(group, base)), path]


def _typed_keys(settings: type[Settings], prefix: str = "") -> Iterator[tuple[str, Key]]:
    for key in settings.declared().values():
        if isinstance(key.type, type) and issubclass(key.type, Settings):
            yield from _typed_keys(key.type, f"{prefix}{key.name}.")
        else:
            yield f"{prefix}{key.name}", key


def commented_keys(text: str) -> dict[str, str]:
    """Return the dotted keys of a yaml text, each with the comment at the end of its line.

    >>> commented_keys("head:  # between backbone and scores\\n  hidden: 512  # width")
    {'head': 'between backbone and scores', 'head.hidden': 'width'}
    """
    found: dict[str, str] = {}
    lines = text.splitlines()

    def walk(node: yaml.Node, prefix: str) -> None:
        for key, value in node.value:
            mark = value.end_mark if isinstance(value, yaml.ScalarNode) or value.flow_style else key.end_mark
            found[f"{prefix}{key.value}"] = lines[mark.line][mark.column :].partition("#")[2].strip()
            if isinstance(value, yaml.MappingNode):
                walk(value, f"{prefix}{key.value}.")

    root = yaml.compose(text, _LOADER)
    if isinstance(root, yaml.MappingNode):
        walk(root, "")
    return {key: comment for key, comment in found.items() if not key.startswith(("defaults", "hydra"))}


def meant(name: str, keys: Iterable[str], *, at_most: int = 4) -> list[str]:
    """Return the few keys that a wrong one may have been meant for, the likeliest first.

    Keys whose last part is the whole name come first and alone, those of the fewest parts: ``lr`` is ``optimizer.lr``,
    and ``path`` is ``dataset.path`` rather than ``dataset.columns.path``. Then come those of the section that was
    named, whose last part is spelt nearly so, those of its group whose last part is the same, and then any whose last
    part or whole is spelt nearly so.
    """
    names, wanted = list(dict.fromkeys(keys)), name.replace("-", "_").lower()
    if exact := [key for key in names if is_leaf(wanted, key)]:
        return _shortest(exact)[:at_most]
    section, _, last = wanted.rpartition(".")
    beside = {key.rpartition(".")[2]: key for key in names if section and key.rpartition(".")[0] == section}
    if close := _closest(last, beside):
        return [beside[leaf] for leaf in close][:at_most]
    if section and (elsewhere := [key for key in names if is_leaf(last, key)]):
        group = section.partition(".")[0]
        return _shortest([key for key in elsewhere if key.startswith(f"{group}.")] or elsewhere)[:at_most]
    close = _closest(last, {key.rpartition(".")[2] for key in names})
    by_leaf = [key for key in names if key.rpartition(".")[2] in close]
    return list(dict.fromkeys([*_closest(wanted, names), *by_leaf]))[:at_most]


def _shortest(keys: Sequence[str]) -> list[str]:
    """Return the keys that have the fewest parts."""
    fewest = min(key.count(".") for key in keys)
    return [key for key in keys if key.count(".") == fewest]


def is_leaf(name: str, key: str) -> bool:
    """Return whether a name is the whole of a key or its last parts: ``lr`` of ``optimizer.lr``."""
    return f".{key}".lower().endswith(f".{name}")


def _closest(word: str, names: Iterable[str]) -> list[str]:
    """Return the names that are spelt most nearly like a word: the nearest, and those that are nearly as near."""
    ratios = {name: difflib.SequenceMatcher(None, word, name).ratio() for name in names}
    best = max(ratios.values(), default=0.0)
    near = [name for name, ratio in ratios.items() if ratio >= max(0.7, best - 0.05)]
    return sorted(near, key=lambda name: -ratios[name])
