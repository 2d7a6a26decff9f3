"""Random textures: fractal noise, and what clouds, rock and clumpy discs are made of."""

from __future__ import annotations

import cv2
import numpy as np


def fractal_noise(rng: np.random.Generator, height: int, width: int, slope: float) -> np.ndarray:
    """Draw a Gaussian random field with the power spectrum k**-slope; zero mean, unit variance.

    Parameters
    ----------
    slope
        2 is rough, 3 resembles interstellar clouds (2.8 is observed for cirrus), 4 is smooth.

    Returns
    -------
    (height, width) float32
    """
    white = np.fft.rfft2(rng.standard_normal((height, width)))
    k_y = np.fft.fftfreq(height)[:, None]
    k_x = np.fft.rfftfreq(width)[None, :]
    k = np.hypot(k_y, k_x)
    k[0, 0] = np.inf  # no power in the mean
    field = np.fft.irfft2(white * k ** (-slope / 2), s=(height, width))
    return (field / field.std()).astype(np.float32)


def stretched_noise(rng: np.random.Generator, height: int, width: int, slope: float, cells: int = 64) -> np.ndarray:
    """Draw fractal noise on `cells` cells along the longer side and enlarge it: the same structure at any size."""
    coarse_height = max(8, round(cells * height / max(height, width)))
    coarse_width = max(8, round(cells * width / max(height, width)))
    coarse = fractal_noise(rng, coarse_height, coarse_width, slope)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def warp(image: np.ndarray, shift_x: np.ndarray, shift_y: np.ndarray) -> np.ndarray:
    """Look an image up at positions moved by the shifts (pixels): turbulence when the shifts are noise."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return cv2.remap(
        image,
        x + shift_x.astype(np.float32),
        y + shift_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def smoothstep(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """Return 0 below `low`, 1 above `high`, a smooth cubic between; a falling edge when `low` > `high`."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
