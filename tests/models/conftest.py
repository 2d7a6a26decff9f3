"""Fixtures of the model tests. A new backbone is tested by adding its class to BACKBONES."""

from __future__ import annotations

import pytest
from torch import nn

from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.resnet18 import ResNet18

BACKBONES: tuple[type[nn.Module], ...] = (ResNet18, Custom6Conv)


@pytest.fixture(params=BACKBONES, ids=lambda backbone: backbone.__name__)
def backbone_class(request: pytest.FixtureRequest) -> type[nn.Module]:
    return request.param


@pytest.fixture(autouse=True)
def always(seeded_and_single_threaded: None) -> None:
    """Every test here."""
