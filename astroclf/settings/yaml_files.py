"""The yaml files in ``conf/``, where the defaults of all settings stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def config_dir() -> Path:
    """Return the folder of yaml files: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def yaml_values(name: str) -> dict[str, Any]:
    """Return the keys and values of one file as they stand there, such as ``trainer/default``."""
    values = yaml.safe_load((config_dir() / f"{name}.yaml").read_text(encoding="utf-8"))
    return {str(key): value for key, value in values.items()}
