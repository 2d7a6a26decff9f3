"""Images of any number of bands, by four at a time for OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MAX_CHANNELS = 64


def in_fours(function: Callable[[np.ndarray], np.ndarray], image_HWC: np.ndarray) -> np.ndarray:
    """Apply to four bands at a time, (H, W, ≤ 4) to (H', W', ≤ 4): the most that OpenCV resizes at once."""
    bands = image_HWC.shape[2]
    if bands <= 4:
        return function(image_HWC)
    parts = [np.ascontiguousarray(image_HWC[:, :, first : first + 4]) for first in range(0, bands, 4)]
    return np.concatenate([function(part) for part in parts], axis=2)
