"""The yaml files in ``conf/``, where the defaults of all settings stand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # in C, ten times as fast
    """Reads 1e-3 as a number, as Hydra does; YAML 1.1 wants 1.0e-3."""


_NUMBER = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+0123456789"))


def config_dir() -> Path:
    """Return the folder of yaml files: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def yaml_values(name: str, folders: Sequence[Path] | None = None) -> dict[str, Any]:
    """Return the keys and values of one file, and of those of its group that it builds on, as they stand there.

    Parameters
    ----------
    name
        Such as ``trainer/default``.
    folders
        Where to look, the first that has it; by default `config_dir`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    group = name.rpartition("/")[0]
    places = [folder / f"{name}.yaml" for folder in folders or [config_dir()]]
    found = next((place for place in places if place.is_file()), places[0])
    content = yaml.load(found.read_text(encoding="utf-8"), _Loader) or {}
    values: dict[str, Any] = {}
    for base in content.pop("defaults", []):
        if isinstance(base, str) and base != "_self_":
            values |= yaml_values(f"{group}/{base}", folders)
    return values | {str(key): value for key, value in content.items()}
