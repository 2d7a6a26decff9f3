"""Fixtures of the networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from torch import nn

from astroclf.settings.components import locate
from tests.backbones import EVERY_BACKBONE, backbone_options


@pytest.fixture(params=EVERY_BACKBONE)
def new_backbone(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    """Build one of the backbones of ``conf/backbone`` with the options of its yaml, and what a test adds."""
    options = backbone_options(request.param)
    return partial(locate("backbone", options.pop("_target_")), **options)


@pytest.fixture(autouse=True)
def always(seeded_and_single_threaded: None) -> None:
    """Every test here."""
