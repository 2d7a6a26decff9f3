from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from itertools import count

import pytest
from torch import Tensor, nn

from astroclf.registry.versions import RegisteredModel
from astroclf.tracking.client import connect
from tests.registry.decided import NewModel


class Tiny(nn.Module):
    """A network as small as one can be; it is sensitive to how an image is turned."""

    def __init__(self, image_size: int = 32, channels: int = 3, weights: str | None = None) -> None:
        super().__init__()
        self.num_features = 8
        self.stages = nn.Sequential(nn.Conv2d(channels, 8, 5, stride=3, padding=2), nn.BatchNorm2d(8), nn.ReLU())

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


@pytest.fixture
def new_model(uri: str, request: pytest.FixtureRequest) -> Iterator[NewModel]:
    """Makes a registered model with so many versions that nobody has decided about."""
    client, numbers, names = connect(uri), count(), []

    def make(versions: int, name: str = "") -> RegisteredModel:
        names.append(name or f"{request.node.name} {next(numbers)}".replace("[", " ").replace("/", " "))
        client.create_registered_model(names[-1])
        for _ in range(versions):
            client.create_model_version(names[-1], "file:///nowhere", description="A network.")
        return RegisteredModel(uri, names[-1])

    yield make
    for name in names:
        client.delete_registered_model(name)
