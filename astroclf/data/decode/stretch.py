"""The stretch from flux to brightness: bands of measured values to uint8 pictures that show faint and bright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from astroclf.errors import ImageError
from astroclf.settings.tone import ToneSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy import visualization
else:  # takes two seconds to import, for it brings matplotlib: only where a FITS file is met
    visualization = lazy_import("astropy.visualization")


@dataclass(frozen=True)
class Tone:
    """How numbers of one kind become grey.

    Attributes
    ----------
    interval
        ``limits``: `low` is black and `high` white, in every file; else how they are found in each file.
    stretch
        The curve between black and white.
    """

    interval: Literal["limits", "zscale", "sigma", "percentile", "minmax"]
    stretch: Literal["linear", "asinh", "sqrt", "log"]
    low: float | None = None
    high: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_plain` gave."""
        return cls(**plain)


def stretch_bands(bands_PHW: np.ndarray, tone: Tone, settings: ToneSettings, where: str) -> np.ndarray:
    """Turn the flux of P bands (NaN where unknown) into uint8 (H, W, P); `where` names the file in errors.

    Each band gets its own black and white (their skies differ), or, with ``color=lupton``, three bands share one
    stretch that keeps the ratios between them (Lupton et al. 2004, PASP 116, 133).

    Raises
    ------
    ImageError
        Too few finite pixels, nothing but one value, or another number of bands than three for ``lupton``.
    """
    seen_PHW = np.isfinite(bands_PHW)
    bad = 1 - seen_PHW.mean()
    if not seen_PHW.any():
        raise ImageError(f"{where}: every pixel is NaN, infinite or BLANK.", "bad pixels")
    if bad > settings.max_bad_fraction:
        raise ImageError(
            f"{where}: {bad:.1%} of the pixels are NaN, infinite or BLANK, more than "
            f"dataset.tone.max_bad_fraction={settings.max_bad_fraction}.",
            "bad pixels",
        )
    if all(np.ptp(band[seen]) == 0 for band, seen in zip(bands_PHW, seen_PHW, strict=True) if seen.any()):
        raise ImageError(f"{where}: the image is constant: every pixel has the same value.", "constant")
    if settings.color == "lupton":
        if len(bands_PHW) != 3:
            raise ImageError(
                f"{where}: the image has {_bands(len(bands_PHW))}, but dataset.tone.color=lupton makes a picture of "
                "three (red, green, blue). Name them with dataset.planes, dataset.fits.files or hdu, or take per_band.",
                "wrong bands",
            )
        return _lupton(bands_PHW, seen_PHW, tone, settings)
    stretched = [_stretch_band(band, seen, tone, settings) for band, seen in zip(bands_PHW, seen_PHW, strict=True)]
    return np.stack(stretched, axis=-1)


def _bands(count: int) -> str:
    return "1 band" if count == 1 else f"{count} bands"


def _stretch_band(band_HW: np.ndarray, seen_HW: np.ndarray, tone: Tone, settings: ToneSettings) -> np.ndarray:
    known = band_HW[seen_HW].astype(np.float64)
    if known.size == 0 or np.ptp(known) == 0:
        return np.zeros(band_HW.shape, np.uint8)  # one empty band of several: the others make the picture
    low, high = _limits(known, tone, settings)
    background = np.median(known) if settings.fill == "background" else low
    filled = np.where(seen_HW, band_HW.astype(np.float64), background)
    unit = np.clip((filled - low) / (high - low), 0, 1)
    return np.round(255 * np.asarray(_stretch(tone)(unit, clip=True))).astype(np.uint8)


def _lupton(bands_3HW: np.ndarray, seen_3HW: np.ndarray, tone: Tone, settings: ToneSettings) -> np.ndarray:
    """Make RGB (H, W, 3) of red, green, blue flux: one asinh of the mean flux, by which all three bands are scaled."""
    given = np.broadcast_to(np.array(settings.lupton_minimum, dtype=np.float64), 3)  # None becomes NaN
    flux = np.zeros(bands_3HW.shape)
    for band, seen, minimum, out in zip(bands_3HW, seen_3HW, given, flux, strict=True):
        if seen.any():  # else its color is missing from the picture
            sky = np.median(band[seen].astype(np.float64))
            black = sky if np.isnan(minimum) else minimum
            out[:] = np.where(seen, band, sky if settings.fill == "background" else black) - black
    stretch = settings.lupton_stretch
    if stretch is None:
        low, high = _limits(flux.mean(axis=0)[seen_3HW.any(axis=0)], tone, settings)
        stretch = (high - low) or 1.0  # bands that cancel each other out leave nothing to stretch
    with np.errstate(invalid="ignore"):  # black pixels are 0 / 0 in there, and then 0
        return visualization.make_lupton_rgb(*flux, stretch=stretch, Q=settings.lupton_q)


def _limits(known: np.ndarray, tone: Tone, settings: ToneSettings) -> tuple[float, float]:
    """Choose black and white among these fluxes, (N,); at least two of them differ."""
    if tone.interval == "limits":
        assert tone.low is not None
        assert tone.high is not None
        return tone.low, tone.high
    low, high = _interval(tone, settings).get_limits(known.reshape(1, -1))
    if not high > low:  # mostly one value, e.g. a masked background
        low, high = known.min(), known.max()
    return float(low), float(high)


def _interval(tone: Tone, settings: ToneSettings) -> visualization.BaseInterval:
    if tone.interval == "minmax":
        return visualization.MinMaxInterval()
    if tone.interval == "percentile":
        outside = (100 - settings.percentile) / 2
        return visualization.AsymmetricPercentileInterval(outside, 100 - outside)
    return visualization.ZScaleInterval()


def _stretch(tone: Tone) -> visualization.BaseStretch:
    stretches = {
        "asinh": visualization.AsinhStretch,
        "linear": visualization.LinearStretch,
        "log": visualization.LogStretch,
        "sqrt": visualization.SqrtStretch,
    }
    return stretches[tone.stretch]()
