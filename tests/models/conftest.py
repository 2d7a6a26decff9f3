"""Fixtures of the networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from torch import nn

from astroclf.settings.components import locate
from astroclf.settings.yaml_files import config_dir, yaml_values

BACKBONES = sorted(path.stem for path in (config_dir() / "backbone").glob("*.yaml"))
SMALL = {"timm": {"name": "mobilenetv4_conv_small_035"}}  # what is built a hundred times
SLOW = {"efficientnet_lite0"}  # a network of timm, whose promises are looked at with a smaller one


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKBONES])
def new_backbone(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    """Build one of the backbones of ``conf/backbone`` with the options of its yaml, and what a test adds."""
    options = yaml_values(f"backbone/{request.param}") | SMALL.get(request.param, {})
    return partial(locate("backbone", options.pop("_target_")), **options)


@pytest.fixture(autouse=True)
def always(seeded_and_single_threaded: None) -> None:
    """Every test here."""
