"""Images of any number of bands: by four at a time for OpenCV, as three for people to look at."""

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


def as_rgb(images: np.ndarray) -> np.ndarray:
    """What to show of (..., C) uint8, as (..., 3): RGB as it is; of more bands the first three; of fewer their mean."""
    if images.shape[-1] >= 3:
        return images[..., :3]
    grey = np.rint(images.mean(axis=-1, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)
