"""What astronomers measure of an image, in pixels as a network sees them: sky, noise, size, sharpness, color."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np

MOST_IMAGES = 1000  # of a data set that are measured, evenly from the first to the last: some milliseconds each
WHITE = 254  # from here on a pixel is saturated: JPEG turns some of 255 into 254
_BORDER = 1 / 8  # of the shorter side: the frame in which the sky is looked for
_OBJECT_SIGMAS = 3.0  # above the sky, by the spread of the frame: what belongs to the object


@dataclass(frozen=True)
class Statistic:
    """One number that is measured of every image.

    Attributes
    ----------
    label
        What it is, with its unit.
    subject
        What is more or less of, in a sentence.
    more, less
        How.
    compared
        Typical values: by their ``ratio``, or by their difference, in ``grey`` levels or ``points`` of a share.
    """

    label: str
    subject: str
    more: str
    less: str
    compared: Literal["ratio", "grey", "points"]


STATISTICS: dict[str, Statistic] = {
    "brightness": Statistic("brightness, mean grey level", "the images are", "brighter", "darker", "grey"),
    "background": Statistic("background, grey level of the frame", "the background is", "brighter", "darker", "grey"),
    "noise": Statistic("noise, grey levels", "the noise is", "higher", "lower", "ratio"),
    "contrast": Statistic(
        "brightest part above background, grey levels", "the brightest parts are", "brighter", "fainter", "ratio"
    ),
    "radius": Statistic("half-light radius, pixels", "the objects are", "larger", "smaller", "ratio"),
    "fwhm": Statistic("FWHM of the brightest part, pixels", "the brightest parts are", "wider", "narrower", "ratio"),
    "detail": Statistic("share of contrast in fine detail", "fine detail is", "stronger", "weaker", "ratio"),
    "saturated": Statistic("saturated pixels, share", "saturated pixels are", "more", "fewer", "points"),
    "black": Statistic("black pixels, share", "black pixels are", "more", "fewer", "points"),
}
_OF_COLOR = "color_"


def statistics_of(channels: int) -> dict[str, Statistic]:
    """Return what is measured of images of so many bands: a color for each pair of neighbouring bands, too."""
    names = ("red", "green", "blue") if channels == 3 else tuple(f"band {band + 1}" for band in range(channels))
    colors = {
        f"{_OF_COLOR}{band}": Statistic(
            f"color, {one} − {other} over their sum", "the objects are", f"stronger in {one}", f"stronger in {other}",
            "points",
        )
        for band, (one, other) in enumerate(pairwise(names))
    }  # fmt: skip
    return STATISTICS | colors


def statistics_named(names: Collection[str]) -> dict[str, Statistic]:
    """Return the statistics of which `measure` has given these, however many bands that was of."""
    return statistics_of(1 + sum(name.startswith(_OF_COLOR) for name in names))


def spread_evenly(count: int, most: int = MOST_IMAGES) -> np.ndarray:
    """Return at most so many of `count` places, evenly from the first to the last, each once."""
    return (
        np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, int)
    )


def measure(images_NHWC: np.ndarray) -> dict[str, np.ndarray]:
    """Measure images as a network sees them, (N, H, W, C) uint8; each of `statistics_of` is (N,) float32."""
    names = list(statistics_of(images_NHWC.shape[3]))
    values = np.array([_measured(np.asarray(image)) for image in images_NHWC], np.float32).reshape(-1, len(names))
    return {name: values[:, place] for place, name in enumerate(names)}


def typical(statistic: Statistic, values_N: np.ndarray) -> float:
    """Return the value that stands for all: the median; of shares, of which most may be 0, the mean."""
    return float(values_N.mean() if statistic.compared == "points" else np.median(values_N))


def said_of(statistic: Statistic, here: float, there: float) -> str:
    """Say how typical values differ, such as ``the noise is 2.1 times higher``; empty where they do not."""
    word = statistic.more if here > there else statistic.less
    if statistic.compared == "ratio":
        low, high = sorted((here, there))
        if low <= 0:
            return f"{statistic.subject} {word}" if high > 0 else ""
        return f"{statistic.subject} {high / low:.1f} times {word}" if high / low >= 1.05 else ""
    if statistic.compared == "grey":
        return f"{statistic.subject} {abs(here - there):.0f} grey levels {word}" if abs(here - there) >= 1 else ""
    points = 100 * abs(here - there)
    return f"{statistic.subject} {points:.{1 if points < 9.95 else 0}f} points {word}" if points >= 0.1 else ""


def _measured(image_HWC: np.ndarray) -> list[float]:
    """Measure one image, in the order of `statistics_of`."""
    black_share = float((image_HWC.max(axis=2) == 0).mean())
    bands_HWC = _without_padding(image_HWC).astype(np.float32)
    grey_HW = np.ascontiguousarray(bands_HWC.mean(axis=2))
    frame_HW = _frame(*grey_HW.shape)
    background = float(np.median(grey_HW[frame_HW]))
    noise = _noise(grey_HW)
    # Above and below the sky noise is alike; above it lie neighbours, too. So the spread is that below.
    spread = max(1.0, noise, background - float(np.percentile(grey_HW[frame_HW], 16)))
    above_HW = grey_HW - background
    object_HW = above_HW > _OBJECT_SIGMAS * spread
    flux_HW = np.where(object_HW, above_HW, 0)
    smooth_HW = cv2.GaussianBlur(above_HW, (3, 3), 0)  # one hot pixel is no source
    return [
        float(grey_HW.mean()),
        background,
        noise,
        max(0.0, float(smooth_HW.max())),
        _half_light_radius(flux_HW),
        _width(smooth_HW),
        _detail(grey_HW),
        float((bands_HWC.max(axis=2) >= WHITE).mean()),
        black_share,
        *_colors(bands_HWC, frame_HW, object_HW),
    ]


def _without_padding(image_HWC: np.ndarray) -> np.ndarray:
    """Return an image without the black rows and columns at its edges, by which it was made square."""
    filled_HW = image_HWC.max(axis=2) > 0
    rows, columns = np.flatnonzero(filled_HW.any(axis=1)), np.flatnonzero(filled_HW.any(axis=0))
    if min(len(rows), len(columns)) == 0 or min(np.ptp(rows), np.ptp(columns)) < 8:
        return image_HWC
    return image_HWC[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _frame(height: int, width: int) -> np.ndarray:
    """Return the pixels near the edges, (H, W) bool."""
    wide = max(1, round(_BORDER * min(height, width)))
    frame_HW = np.ones((height, width), bool)
    frame_HW[wide:-wide, wide:-wide] = False
    return frame_HW


def _noise(grey_HW: np.ndarray) -> float:
    """Estimate the noise from pixel to pixel (Immerkær 1996, doi:10.1006/cviu.1996.0060), in the darker half."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response_HW = np.abs(cv2.filter2D(grey_HW, cv2.CV_32F, kernel))[1:-1, 1:-1]
    smooth_HW = cv2.blur(grey_HW, (3, 3))[1:-1, 1:-1]
    if not response_HW.size:
        return 0.0
    return float(response_HW[smooth_HW <= np.median(smooth_HW)].mean()) * math.sqrt(math.pi / 2) / 6


def _half_light_radius(flux_HW: np.ndarray) -> float:
    """Return the radius about the centre of light within which half of it lies; 0 without any."""
    total = float(flux_HW.sum())
    if total <= 0:
        return 0.0
    y_HW, x_HW = np.indices(flux_HW.shape, np.float32)
    y, x = float((flux_HW * y_HW).sum()) / total, float((flux_HW * x_HW).sum()) / total
    radius = np.hypot(y_HW - y, x_HW - x).ravel()
    order = np.argsort(radius)
    reached = np.searchsorted(np.cumsum(flux_HW.ravel()[order]), total / 2)
    return float(radius[order][min(reached, len(order) - 1)])


def _width(smooth_HW: np.ndarray) -> float:
    """Return the diameter of a disk as large as what is brighter than half the brightest part, and joined to it."""
    peak = np.unravel_index(int(smooth_HW.argmax()), smooth_HW.shape)
    if smooth_HW[peak] <= 0:
        return 0.0
    half_HW = (smooth_HW >= smooth_HW[peak] / 2).astype(np.uint8)
    _, parts_HW = cv2.connectedComponents(half_HW)
    return 2 * math.sqrt(float((parts_HW == parts_HW[peak]).sum()) / math.pi)


def _detail(grey_HW: np.ndarray) -> float:
    """Return the share of the contrast that a blur of 1.5 pixels takes away."""
    contrast = float(grey_HW.std())
    return float((grey_HW - cv2.GaussianBlur(grey_HW, (0, 0), 1.5)).std()) / contrast if contrast > 0 else 0.0


def _colors(bands_HWC: np.ndarray, frame_HW: np.ndarray, object_HW: np.ndarray) -> list[float]:
    """Return, for each pair of neighbouring bands, the difference of their light over its sum; 0 without any."""
    if not object_HW.any():
        return [0.0] * (bands_HWC.shape[2] - 1)
    light_C = np.maximum(0, bands_HWC[object_HW].mean(axis=0) - np.median(bands_HWC[frame_HW], axis=0)).tolist()
    return [(one - other) / (one + other) if one + other > 0 else 0.0 for one, other in pairwise(light_C)]
