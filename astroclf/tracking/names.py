"""Names and values as MLflow takes them."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Mapping
from typing import Any

_FORBIDDEN = re.compile(r"[^/\w.\- :]")  # MLflow's own rule for parameters, metrics and tags
NAME_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 8000


def valid_name(name: str) -> str:
    """The name itself, or the nearest one that MLflow takes (it reads names as relative paths).

    >>> valid_name("test/Round Smooth/accuracy"), valid_name("test/Sb (barred)/recall")
    ('test/Round Smooth/accuracy', 'test/Sb _barred_/recall')
    """
    parts = [part for part in _FORBIDDEN.sub("_", name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:NAME_LENGTH] or "_"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by the dotted keys that people type: ``{"loss": {"gamma": 2}}`` to ``loss.gamma``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def text(value: Any, limit: int) -> str:
    """The value as text of at most `limit` characters; where something is cut off, it ends in an ellipsis."""
    written = value if isinstance(value, str) else _written(value)
    return written if len(written) <= limit else written[: limit - 1] + "…"


def user() -> str:
    """The name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user id has no name
        return "unknown"


def _written(value: Any) -> str:
    if isinstance(value, list | tuple | dict | bool) or value is None:
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
