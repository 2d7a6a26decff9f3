from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest
from torch import Tensor, nn


class Tiny(nn.Module):
    """A network as small as one can be; it is sensitive to how an image is turned."""

    def __init__(self, image_size: int = 32, channels: int = 3, weights: str | None = None) -> None:
        super().__init__()
        self.num_features = 8
        self.stages = nn.Sequential(nn.Conv2d(channels, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.stages(images_BCHW).mean(dim=(2, 3))


@pytest.fixture(scope="session")
def tiny_backbone() -> Iterator[type[nn.Module]]:
    """`Tiny` under a name of astroclf, since packages build no other networks."""
    module = types.ModuleType("astroclf.models.tiny")
    module.Tiny = Tiny  # type: ignore[attr-defined]
    Tiny.__module__ = module.__name__
    sys.modules[module.__name__] = module
    yield Tiny
    del sys.modules[module.__name__]
