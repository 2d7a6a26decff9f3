"""Images of any number of bands: four at a time for OpenCV, and as many as are wanted."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from astroclf.errors import ImageError
from astroclf.settings.fits import bands_give

MAX_CHANNELS = 64


def in_fours(function: Callable[[np.ndarray], np.ndarray], image_HWC: np.ndarray) -> np.ndarray:
    """Apply a function to four bands at a time, (H, W, ≤ 4) to (H', W', ≤ 4): OpenCV resizes no more at once."""
    bands = image_HWC.shape[2]
    if bands <= 4:
        return function(image_HWC)
    parts = [np.ascontiguousarray(image_HWC[:, :, first : first + 4]) for first in range(0, bands, 4)]
    return np.concatenate([function(part) for part in parts], axis=2)


def to_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """Return a decoded image with the channels wanted, (H, W, channels): as it is, or the luminance of RGB."""
    if image_HWC.shape[2] == channels:
        return image_HWC
    if (image_HWC.shape[2], channels) == (3, 1):
        return cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)[..., None]
    raise ValueError(f"an image of {image_HWC.shape[2]} channels gives no {channels}")


def check_bands(bands: int, channels: int, where: str, given_by: str) -> None:
    """Refuse an image of another number of bands than `dataset.channels` asks for.

    Parameters
    ----------
    given_by
        What the bands were made of, such as ``3 HDUs``, for the error.

    Raises
    ------
    ImageError
        They cannot make an image of so many channels.
    """
    if not bands_give(bands, channels):
        raise ImageError(
            f"{where}: its {given_by} give {bands} band{'s' * (bands > 1)}, but dataset.channels={channels}. Choose as "
            "many with dataset.planes (planes of a cube), dataset.fits.hdu (a list of HDUs) or dataset.fits.files "
            "(one file a band), or change dataset.channels.",
            "wrong bands",
        )
