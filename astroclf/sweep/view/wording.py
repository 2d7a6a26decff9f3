"""How parameters and values of trials are written for people: short, and as they are typed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from optuna.trial import FrozenTrial

from astroclf.sweep.space import as_text


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Give each dotted key its last part, or as many parts as it takes to tell it from the others."""
    parts = {key: key.lstrip("+").split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        others = [other for name, other in parts.items() if name != key]
        length = 1
        while length < len(own) and any(own[-length:] == other[-length:] for other in others):
            length += 1
        names[key] = ".".join(own[-length:])
    return names


def parts_of(name: str) -> list[str]:
    """Split a name into its words, to be set in as many lines: ``weight_``, ``decay``."""
    return re.findall(r"[^_/]+[_/]?|[_/]+", name)


def param_text(value: Any) -> str:
    """Write a parameter's value: three digits of a float (four next to 1, for β), else as on a command line."""
    if not isinstance(value, float) or not math.isfinite(value):
        return as_text(value)
    if 0 < abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}" if 0.99 < abs(value) < 1 else f"{value:.3g}"


def params_text(params: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Write all parameters of a trial in one line: ``backbone=resnet18 lr=0.0003``."""
    return " ".join(f"{names[key]}={param_text(value)}" for key, value in params.items())


def value_text(value: float | None) -> str:
    """Write an objective's value with four digits, or a dash."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"


def validations_text(trial: FrozenTrial) -> str:
    """Write how far a trial is, ``3/10 validations``, as far as it is known."""
    planned, seen = trial.user_attrs.get("validations"), len(trial.intermediate_values)
    if planned:
        return f"{seen}/{planned} validations"
    return f"{seen} validation{'s' if seen > 1 else ''}" if seen else ""


def one_line(text: Any) -> str:
    """Put a reason in one line without a full stop, to stand beside other things."""
    return " ".join(str(text).split()).rstrip(".")
