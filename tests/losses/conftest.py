"""Settings of the loss tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def always(seeded_and_single_threaded: None) -> None:
    """Every test here."""
