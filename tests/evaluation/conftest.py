from __future__ import annotations

import numpy as np
import pytest

from astroclf.evaluation.predictions import Predictions

CLASSES = ("Merging", "Round Smooth", "Sb <barred>")


@pytest.fixture
def predictions() -> Predictions:
    """Six images, four of them right; the two mistakes are told with 0.9 and 0.6. The last class has no image."""
    return Predictions(
        classes=CLASSES,
        ids=np.array(["a.jpg", "b.jpg", "c, d.jpg", "e.jpg", "f.jpg", "g.jpg"]),
        probabilities=np.array(
            [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.05, 0.05, 0.9]]
        ),
        uncertainty=np.array([0.1, 0.2, 0.7, 0.1, 0.2, 0.6]),
        labels=np.array([0, 0, 0, 1, 1, 1]),
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
