from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from astroclf.registry.versions import RegisteredModel
from astroclf.tracking.client import connect
from tests.registry.decided import NewModel


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
