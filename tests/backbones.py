"""The backbones of ``conf/backbone``, as tests go over all of them."""

from __future__ import annotations

from typing import Any

import pytest

from astroclf.settings.yaml_files import config_dir, yaml_values

SMALL = {"timm": {"name": "mobilenetv4_conv_small_035"}}  # what is built a hundred times
SLOW = {"efficientnet_lite0"}  # a network of timm, whose promises are looked at with a smaller one
BACKBONES = sorted(path.stem for path in config_dir().glob("backbone/*.yaml"))
EVERY_BACKBONE = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKBONES]


def backbone_options(name: str) -> dict[str, Any]:
    """Return the values of a backbone's yaml, of which ``_target_`` is one; of timm, those of a small network."""
    return yaml_values(f"backbone/{name}") | SMALL.get(name, {})
