from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clusters.one_node_slurm import one_node_slurm


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """A SLURM with room for two jobs of a core; the environment in which its commands find it."""
    with one_node_slurm(2) as environment:
        yield environment
