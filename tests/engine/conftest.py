from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="module")
def images():
    """(60, 32, 32, 3) uint8 images of three classes that differ in brightness and texture, and their labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pictures = rng.integers(0, 40, (60, 32, 32, 3), dtype=np.uint8)
    pictures[labels == 1] += 150
    pictures[labels == 2, ::4] += 200
    return pictures, labels
