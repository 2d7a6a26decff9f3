"""Names of classes: which are one class, which are typed for which, and which classes of a data set are used."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal

from astroclf.errors import ConfigError, DataError
from astroclf.util.text import did_you_mean

# What stands for a label that is not known, in lower case: of people, pandas, astropy, databases.
MISSING_LABELS = frozenset({"", "nan", "none", "null", "<na>", "nat", "n/a", "-", "--"})

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)")
_SEPARATORS = re.compile(
    r"(?<=[^\W_])[\s_-]+(?=[^\W_])"
)  # between two letters or digits: the minus of S0- and -5 stays


def label_key(name: str) -> str:
    """Return what decides whether two labels are one class: the text in Unicode's form NFC, or a number's value.

    ``1`` and ``1.0`` are one class; ``-5`` and ``5``, ``SB`` and ``Sb``, ``S0-`` and ``S0`` are two.
    """
    text = unicodedata.normalize("NFC", name)
    if not is_number(text):
        return text
    number = format(Decimal(text), "f")
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return "0" if number in ("", "-0", "-") else number


def is_number(label: str) -> bool:
    """Tell if a label is a number, without an exponent."""
    return _NUMBER.fullmatch(label) is not None


def class_key(name: str) -> str:
    """Return what names that look alike have in common: ``Black Hole``, ``black_hole``, ``black-hole``."""
    return _SEPARATORS.sub(" ", label_key(name).strip()).casefold()


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Find classes whose names differ in case, spaces, hyphens or underscores alone."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(class_key(name), []).append(name)
    return [tuple(group) for group in alike.values() if len(group) > 1]


def unique_names(names: Sequence[str], key: str) -> tuple[str, ...]:
    """Return the names as a tuple; one that is there twice is a ConfigError with the config's key."""
    seen: dict[str, str] = {}
    for name in map(str, names):
        if label_key(name) in seen:
            raise ConfigError(f"{key} names the class `{name}` twice.")
        seen[label_key(name)] = name
    return tuple(seen.values())


def match_names(typed: Sequence[str], known: Sequence[str], key: str) -> dict[str, str]:
    """Find the class that is meant by each name as it was typed; what is not among the known is left out.

    The name itself goes first. Else case, spaces, hyphens and underscores may differ, where that leaves one class.

    Parameters
    ----------
    key
        The config's key that has the typed names, for errors.

    Raises
    ------
    ConfigError
        A name that could be any of several classes, or two names for one.
    """
    exact = {label_key(name): name for name in known}
    matches = {name: exact[label_key(name)] for name in typed if label_key(name) in exact}
    by_name = {meant: name for name, meant in matches.items()}
    for name in typed:
        if name in matches:
            continue
        alike = [other for other in known if class_key(other) == class_key(name)]
        free = [other for other in alike if other not in by_name]
        if len(free) > 1:
            raise ConfigError(
                f"{key} names `{name}`, which could be any of the classes {_listed(free)}: type it as it is written."
            )
        if free:
            matches[name], by_name[free[0]] = free[0], name
        elif alike:
            raise ConfigError(
                f"{key} names `{by_name[alike[0]]}` and `{name}`, but there is only `{alike[0]}`: it is named twice."
            )
    return matches


def choose_classes(
    known: Sequence[str], classes: Sequence[str] | None, exclude_classes: Sequence[str], where: str
) -> tuple[str, ...]:
    """Choose the classes to use, in label order: `classes` as given (None: all known), less the excluded.

    Raises
    ------
    DataError
        A name that `where` does not have, or no class left.
    ConfigError
        A name that could be any of several classes, or a class that is named twice.
    """
    meant: dict[str, dict[str, str]] = {}
    for key, names in (("dataset.classes", classes or ()), ("dataset.exclude_classes", exclude_classes)):
        matches = meant[key] = match_names(unique_names(names, key), known, key)
        for name in map(str, names):
            if name not in matches:
                hint = did_you_mean(name, known, class_key)
                raise DataError(f"{key} names `{name}`, but {where} has the classes {', '.join(known)}{hint}")
    excluded = set(meant["dataset.exclude_classes"].values())
    wanted = known if classes is None else list(meant["dataset.classes"].values())
    chosen = tuple(name for name in wanted if name not in excluded)
    if not chosen:
        raise DataError(f"dataset.exclude_classes leaves no class of {where}: at least one must stay.")
    return chosen


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
