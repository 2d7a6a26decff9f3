"""Words and keys: the valid name that is nearest to a wrong one, and a configuration by its dotted keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that names the valid name closest to `name`, or all of them."""
    names = sorted(set(map(str, valid)))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Valid: {', '.join(names)}."


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration by the dotted keys that people type.

    >>> flatten({"loss": {"gamma": 2}, "seed": 0})
    {'loss.gamma': 2, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat
