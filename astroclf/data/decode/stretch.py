"""The stretch from numbers to brightness: bands of measured values to uint8 pictures that show faint and bright."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from astroclf.errors import ImageError
from astroclf.settings.tone import ToneSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy import visualization
else:  # half a second to import, for it brings matplotlib: only where ZScale or lupton is asked for
    visualization = lazy_import("astropy.visualization")

InEachFile = Literal["zscale", "sigma", "percentile", "minmax"]
Curve = Literal["linear", "asinh", "sqrt", "log"]

SAMPLED_PIXELS = 2**20  # of larger images, black and white are found among every n-th pixel
STRIP_PIXELS = 2**18  # a picture is drawn in strips of rows: a mosaic needs a few MB beside its numbers and its picture
NOISE_PIXELS = 2**17  # of larger images, the noise is measured on every n-th pixel: that is true to 0.2 %
CLIP_AT = 3.0  # σ, where the background ends
CLIP_ROUNDS = 10  # of sigma clipping: the noise of an image converges in three to six
FAINT = 0.1  # the share of the way to white where asinh turns from linear to logarithmic (astropy's default)
LOG_RANGE = 1000.0  # brightness goes as log(LOG_RANGE x + 1) (astropy's default, and that of DS9)

# What each curve makes of a share of the way from black to white, as astropy's stretches do with their defaults.
CURVES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda unit: unit,
    "asinh": lambda unit: np.arcsinh(unit / FAINT) / np.arcsinh(1 / FAINT),
    "sqrt": np.sqrt,
    "log": lambda unit: np.log(LOG_RANGE * unit + 1) / np.log(LOG_RANGE + 1),
}


def stretch_bands(
    bands_PHW: np.ndarray,
    interval: InEachFile | tuple[float, float],
    curve: Curve,
    settings: ToneSettings,
    where: str,
) -> np.ndarray:
    """Turn the numbers of P bands (NaN where unknown) into uint8 (H, W, P); `where` names the file in errors.

    Each band gets its own black and white (their skies differ), or, with ``color=lupton``, three bands share one
    stretch that keeps the ratios between them (Lupton et al. 2004, PASP 116, 133).

    Parameters
    ----------
    interval
        Black and white, or how they are found.

    Raises
    ------
    ImageError
        Too few finite pixels, nothing but one value, or another number of bands than three for ``lupton``.
    """
    known = [_known(band) for band in bands_PHW]
    bad = 1 - sum(values.size for values in known) / bands_PHW.size
    if bad == 1:
        raise ImageError(f"{where}: every pixel is NaN, infinite or BLANK.", "bad pixels")
    if bad > settings.max_bad_fraction:
        raise ImageError(
            f"{where}: {bad:.1%} of the pixels are NaN, infinite or BLANK, more than "
            f"dataset.tone.max_bad_fraction={settings.max_bad_fraction}.",
            "bad pixels",
        )
    if all(_is_constant(values) for values in known):
        raise ImageError(f"{where}: the image is constant: every pixel has the same value.", "constant")
    if settings.color == "lupton":
        if len(bands_PHW) != 3:
            raise ImageError(
                f"{where}: the image has {_bands(len(bands_PHW))}, but dataset.tone.color=lupton makes a picture of "
                "three (red, green, blue). Name them with dataset.planes, dataset.fits.files or hdu, or take per_band.",
                "wrong bands",
            )
        return _lupton(bands_PHW, known, interval, settings)
    picture_HWP = np.zeros((*bands_PHW.shape[1:], len(bands_PHW)), np.uint8)
    for index, (band_HW, values) in enumerate(zip(bands_PHW, known, strict=True)):
        if not _is_constant(values):  # else one empty band of several: the others make the picture
            _stretch_band(band_HW, values, interval, curve, settings, picture_HWP[..., index])
    return picture_HWP


def background(known: np.ndarray) -> tuple[float, float]:
    """Measure the background and its noise σ by sigma clipping, of finite numbers (N,).

    Where nearly all pixels have one value, σ is that of the last round in which any differed, and at least half a step
    to the next value: of photon counts, one photon is noise.
    """
    kept = known = sampled(known, NOISE_PIXELS).astype(np.float64)
    level, noise = float(np.median(kept)), float(kept.std())
    for _ in range(CLIP_ROUNDS):
        inside = kept[np.abs(kept - level) <= CLIP_AT * noise]
        if len(inside) in (0, len(kept)):
            break
        kept, level = inside, float(np.median(inside))
        if not kept.std():
            steps = np.abs(known - level)
            return level, max(noise, float(steps[steps > 0].min()) / 2)
        noise = float(kept.std())
    return level, noise


def sampled(values: np.ndarray, most: int = SAMPLED_PIXELS) -> np.ndarray:
    """Take every n-th of the values, so that at most `most` are left, (N,): the same ones each time."""
    flat = values.reshape(-1)
    return flat[:: -(-flat.size // most)] if flat.size > most else flat


def _bands(count: int) -> str:
    return "1 band" if count == 1 else f"{count} bands"


def _known(band_HW: np.ndarray) -> np.ndarray:
    """Return the finite numbers of a band, (N,); without a copy where all are."""
    if band_HW.dtype.kind != "f":
        return band_HW.reshape(-1)
    seen_HW = np.isfinite(band_HW)
    return band_HW.reshape(-1) if seen_HW.all() else band_HW[seen_HW]


def _is_constant(known: np.ndarray) -> bool:
    return known.size == 0 or known.min() == known.max()


def _strips(height: int, width: int) -> Iterator[slice]:
    """Divide the rows of an image into strips of `STRIP_PIXELS` or less."""
    rows = max(1, STRIP_PIXELS // width)
    return (slice(start, start + rows) for start in range(0, height, rows))


def _stretch_band(
    band_HW: np.ndarray,
    known: np.ndarray,
    interval: InEachFile | tuple[float, float],
    curve: Curve,
    settings: ToneSettings,
    out_HW: np.ndarray,
) -> None:
    low, high = _limits(known, interval, settings)
    level = float(np.median(sampled(known))) if settings.fill == "background" else low
    for rows in _strips(*band_HW.shape):
        strip = band_HW[rows].astype(np.float64)
        strip[~np.isfinite(strip)] = level
        unit = np.clip((strip - low) / (high - low), 0, 1)
        out_HW[rows] = np.rint(255 * CURVES[curve](unit))


def _lupton(
    bands_3HW: np.ndarray,
    known: list[np.ndarray],
    interval: InEachFile | tuple[float, float],
    settings: ToneSettings,
) -> np.ndarray:
    """Make RGB (H, W, 3) of red, green, blue flux: one asinh of the mean flux, by which all three bands are scaled."""
    given = np.broadcast_to(np.array(settings.lupton_minimum, dtype=np.float64), 3)  # None becomes NaN
    sky = [float(np.median(sampled(values))) if values.size else np.nan for values in known]
    black = [level if np.isnan(minimum) else minimum for level, minimum in zip(sky, given, strict=True)]
    unknown = sky if settings.fill == "background" else black

    def flux_of(part_3N: np.ndarray) -> np.ndarray:
        flux_3N = np.zeros(part_3N.shape)
        for values, zero, filled, out in zip(part_3N, black, unknown, flux_3N, strict=True):
            if not np.isnan(zero):  # else no pixel is known, and the color is missing from the picture
                out[:] = np.where(np.isfinite(values), values, filled) - zero
        return flux_3N

    stretch = settings.lupton_stretch
    if stretch is None:
        step = -(-bands_3HW[0].size // SAMPLED_PIXELS)
        some_3N = bands_3HW.reshape(3, -1)[:, ::step]
        low, high = _limits(flux_of(some_3N).mean(axis=0)[np.isfinite(some_3N).any(axis=0)], interval, settings)
        stretch = (high - low) or 1.0  # bands that cancel each other out leave nothing to stretch
    picture_HW3 = np.empty((*bands_3HW.shape[1:], 3), np.uint8)
    for rows in _strips(*bands_3HW.shape[1:]):
        with np.errstate(invalid="ignore"):  # black pixels are 0 / 0 in there, and then 0
            strip = visualization.make_lupton_rgb(*flux_of(bands_3HW[:, rows]), stretch=stretch, Q=settings.lupton_q)
        picture_HW3[rows] = strip
    return picture_HW3


def _limits(
    known: np.ndarray, interval: InEachFile | tuple[float, float], settings: ToneSettings
) -> tuple[float, float]:
    """Choose black and white among these numbers, (N,); at least two of them differ."""
    if isinstance(interval, tuple):
        return interval
    low, high = _found_limits(known, interval, settings)
    if not high > low:  # mostly one value, e.g. a masked background
        low, high = float(known.min()), float(known.max())
    return low, high


def _found_limits(known: np.ndarray, interval: InEachFile, settings: ToneSettings) -> tuple[float, float]:
    if interval == "minmax":
        return float(known.min()), float(known.max())
    some = sampled(known)
    if interval == "percentile":
        outside = (100 - settings.percentile) / 2
        low, high = np.percentile(some, [outside, 100 - outside])
        return float(low), float(high)
    if interval == "sigma":
        level, noise = background(some)
        low = level + settings.sigma * noise
        above = known[known > low]
        if above.size < 2:  # nothing stands out: the noise is shown
            return level, float(known.max())
        return low, float(np.percentile(above, settings.percentile))
    low, high = visualization.ZScaleInterval().get_limits(some.astype(np.float64).reshape(1, -1))
    return float(low), float(high)
