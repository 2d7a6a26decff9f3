"""The centre cut-out of an image, in pixels or on the sky, taken before its numbers become grey."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.values import EIGHT_BIT, Values
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy import wcs
else:
    wcs = lazy_import("astropy.wcs")  # a third of a second to import: only for a cut-out by angle

# Cards that hold arcseconds a pixel, where there is no celestial WCS: of IRAF, SExtractor, AstrOmatic, camera software.
SCALE_CARDS = ("PIXSCALE", "PIXSCAL1", "PIXSCAL", "SECPIX", "SECPIX1")
ARCSEC_IN_DEGREE = 3600.0


def cropped(values: Values, settings: ReadSettings, where: str) -> Values:
    """Take the centre cut-out that ``dataset.crop`` asks for; `where` names the file in errors.

    What lies outside of a smaller image is unknown (8-bit pictures: black), so that all cut-outs show the same area of
    sky at the same scale; that is noted.

    Raises
    ------
    ImageError
        The cut-out is an angle and the pixel scale is not known; the image covers next to nothing of it.
    """
    if settings.cutout is None:
        return values
    side = _side(values, settings, where)
    height, width = values.pixels_HWP.shape[:2]
    top, left = (height - side) // 2, (width - side) // 2
    inside = values.pixels_HWP[max(0, top) : max(0, top) + side, max(0, left) : max(0, left) + side]
    if inside.shape[:2] == (side, side):
        return replace(values, pixels_HWP=inside.copy())  # so that the rest of it need not stay in memory
    size = f"{width} x {height} pixels"
    text = f"{where}: {size} are less than the cut-out of {side} that dataset.crop={settings.crop} takes"
    if 1 - inside.shape[0] * inside.shape[1] / side**2 > settings.tone.max_bad_fraction:
        raise ImageError(f"{text}: next to nothing of it would be known.", "smaller than crop")
    note = Note("smaller than crop", f"{text}: the rest of it is unknown.")
    return replace(values, pixels_HWP=_padded(inside, side, values.kind)).noted(note)


def header_pixel_scale(header: Mapping[str, Any]) -> float | None:
    """Return the arcseconds a pixel that a FITS header tells, by its celestial WCS or by a card, if it does."""
    try:
        celestial = wcs.WCS(header, fix=False, naxis=[wcs.WCSSUB_CELESTIAL])  # not the frequency of a cube
        if celestial.has_celestial:
            scale = float(np.sqrt(np.prod(wcs.utils.proj_plane_pixel_scales(celestial)))) * ARCSEC_IN_DEGREE
            if np.isfinite(scale) and scale > 0:
                return scale
    except Exception:  # of arbitrary headers, wcslib raises whatever it stumbles over: there is no WCS
        pass
    for card in SCALE_CARDS:
        try:
            scale = float(header[card])
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(scale) and scale > 0:
            return scale
    return None


def _side(values: Values, settings: ReadSettings, where: str) -> int:
    """Return the side of the cut-out in pixels."""
    assert settings.cutout is not None
    side, unit = settings.cutout
    if unit == "px":
        return int(side)
    scale = values.pixel_scale_arcsec or settings.pixel_scale
    if scale is None:
        raise ImageError(
            f"{where}: dataset.crop={settings.crop} is an angle, but nothing tells how many arcseconds a pixel of this "
            "file is: say it with dataset.pixel_scale, or give dataset.crop in pixels.",
            "no pixel scale",
        )
    return max(1, round(side / scale))


def _padded(inside_HWP: np.ndarray, side: int, kind: str) -> np.ndarray:
    """Lay an image in the middle of a square of unknown numbers."""
    height, width, planes = inside_HWP.shape
    if kind == EIGHT_BIT:
        square = np.zeros((side, side, planes), np.uint8)
    else:
        square = np.full((side, side, planes), np.nan, np.result_type(np.float32, inside_HWP.dtype))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = inside_HWP
    return square
