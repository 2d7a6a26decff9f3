"""Names of classes: which spellings are one, and which classes of a data set are used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from astroclf.errors import ConfigError, DataError
from astroclf.util.text import did_you_mean


def class_key(name: str) -> str:
    """Return what all spellings of a class have in common: ``Black Hole``, ``black_hole``, ``black-hole`` are one."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def unique_names(names: Sequence[str], key: str) -> tuple[str, ...]:
    """Return the names as a tuple; one that is there twice is a ConfigError with the config's key."""
    seen: dict[str, str] = {}
    for name in map(str, names):
        if class_key(name) in seen:
            raise ConfigError(f"{key} names the class `{name}` twice.")
        seen[class_key(name)] = name
    return tuple(seen.values())


def choose_classes(
    known: Sequence[str], classes: Sequence[str] | None, exclude_classes: Sequence[str], where: str
) -> tuple[str, ...]:
    """Choose the classes to use, in label order: `classes` as given (None: all known), less the excluded.

    Raises
    ------
    DataError
        A name that `where` does not have, or no class left.
    """
    by_key = {class_key(k): k for k in known}
    for key, names in (("dataset.classes", classes or ()), ("dataset.exclude_classes", exclude_classes)):
        for name in unique_names(names, key):
            if class_key(name) not in by_key:
                hint = did_you_mean(name, known, class_key)
                raise DataError(f"{key} names `{name}`, but {where} has the classes {', '.join(known)}{hint}")
    excluded = {class_key(name) for name in exclude_classes}
    wanted = known if classes is None else classes
    chosen = tuple(by_key[class_key(name)] for name in wanted if class_key(name) not in excluded)
    if not chosen:
        raise DataError(f"dataset.exclude_classes leaves no class of {where}: at least one must stay.")
    return chosen
