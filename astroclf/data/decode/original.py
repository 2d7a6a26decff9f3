"""What a sample is, whatever it is prepared to: splits are drawn from its content, and copies found by its picture.

Nothing here depends on image size, cut-out, tone or the bands that are chosen, so that two experiments that differ in
these are tested on the same images, and can be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astroclf.data.catalog import THUMBNAIL_SIDE
from astroclf.data.decode.bands import to_channels
from astroclf.data.decode.images import fit_square, scale
from astroclf.data.decode.stretch import background, sampled
from astroclf.data.decode.values import EIGHT_BIT, Values
from astroclf.settings.reading import ReadSettings

DIGEST_BYTES = 16  # of BLAKE2: 900 MB/s, on any processor
HASHED_BYTES = 2**22  # of pixels at a time, so that no second copy of a mosaic is needed
# The thumbnails of numbers: asinh that turns from linear to logarithmic at so many σ of the noise of the small
# picture, black and white at these percentiles of that. At 5 σ the grain of the sky stays visible beside a bright
# object: of 24 simulated stars no two are alike up to peaks of 100,000 σ, of as many round galaxies up to 1,000 σ
# (with a linear curve, most stars of 10,000 σ are); of 48 VLA cut-outs and 12 optical files no two different ones
# reach 0.5. Of the copies, all that were turned, shifted or rescaled are found, 78 of 84 color pictures of 16 bits,
# and 60 of 63 8-bit pictures of FITS files.
LINEAR_SIGMA = 5.0
BLACK_PERCENTILE, WHITE_PERCENTILE = 0.5, 99.5
LEVEL_PIXELS = 2**14  # of a band, by which its middle is found
SAMPLED_SIDE = 1024  # pixels: of longer images, every n-th one is looked at


class Original(NamedTuple):
    """A sample as its source has it, whichever numbers of it are chosen and whatever is made of them."""

    digest: str  # hex, of the source's content: the bytes of its files, or a row of an array
    pixel_digest: str  # hex, of the numbers: equal in files that hold the same picture in another form
    thumbnail_TT: np.ndarray  # uint8, grey, T = THUMBNAIL_SIDE


def original_of(values: Values, digest: str, *, is_array: bool = False) -> Original:
    """Describe the sample whose numbers, uncut, are `values`, and whose source has this digest.

    Parameters
    ----------
    is_array
        The digest is of these numbers already, and not of a file that holds them in some form.
    """
    return Original(digest, digest if is_array else pixel_digest(values), thumbnail(values))


def as_it_is(settings: ReadSettings) -> ReadSettings:
    """Return the settings that read a file without choosing anything of it."""
    plain = ReadSettings.with_defaults()
    fits = replace(settings.fits, hdu=None)
    return replace(settings, crop=None, planes=None, collapse=plain.collapse, fits=fits)


# ---- digests --------------------------------------------------------------------------------------------------------


def file_digest(paths: Sequence[Path]) -> str:
    """Return the hex digest of what files hold; of several, in whatever order."""
    # Read a second time, now from the system's memory: decoders seek in their files, or map them.
    digests = [_digest_of_file(path) for path in paths]
    return digests[0] if len(digests) == 1 else _digest(digest.encode() for digest in sorted(digests))


def array_digest(row: np.ndarray) -> str:
    """Return the hex digest of a row of an array, with its type and shape."""
    return _digest([f"{row.dtype.str}{row.shape}".encode(), np.ascontiguousarray(row).data])


def pixel_digest(values: Values) -> str:
    """Return the hex digest of the numbers of an image; a grey 8-bit picture is the same as its repetition in RGB."""
    pixels_HWP = values.pixels_HWP
    if values.kind == EIGHT_BIT and pixels_HWP.shape[2] == 1:
        pixels_HWP = np.broadcast_to(pixels_HWP, (*pixels_HWP.shape[:2], 3))
    rows = max(1, HASHED_BYTES // max(1, pixels_HWP[0].nbytes))
    strips = (pixels_HWP[start : start + rows] for start in range(0, len(pixels_HWP), rows))
    shape = f"{pixels_HWP.dtype.str}{pixels_HWP.shape}".encode()
    return _digest([shape, *(np.ascontiguousarray(strip).data for strip in strips)])


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=DIGEST_BYTES)).hexdigest()


def _digest(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


# ---- thumbnails -----------------------------------------------------------------------------------------------------


def thumbnail(values: Values) -> np.ndarray:
    """Make the small grey picture of a whole image by which copies are recognised: (T, T) uint8.

    8-bit pictures are shown as they are. Of other numbers each band gets a black and a white of its own, and their mean
    is shown.
    """
    if values.kind != EIGHT_BIT:
        return fit_square(_small_grey(values.pixels_HWP)[..., None], THUMBNAIL_SIDE)[..., 0]
    small = fit_square(np.ascontiguousarray(values.pixels_HWP), THUMBNAIL_SIDE)
    return to_channels(small, 1)[..., 0] if small.shape[2] in (1, 3) else np.rint(small.mean(axis=2)).astype(np.uint8)


def _small_grey(pixels_HWP: np.ndarray) -> np.ndarray:
    """Show numbers at the size of a thumbnail, unpadded: (H, W) uint8."""
    step = max(1, max(pixels_HWP.shape[:2]) // SAMPLED_SIDE)
    bands = (pixels_HWP[::step, ::step, plane].astype(np.float64) for plane in range(pixels_HWP.shape[2]))
    shown = [grey for band in bands if (grey := _grey_band(band)) is not None]
    if not shown:
        return np.zeros((1, 1), np.uint8)  # nothing is known, or all is one number
    return np.rint(255 * np.mean(shown, axis=0)).astype(np.uint8)


def _grey_band(band_HW: np.ndarray) -> np.ndarray | None:
    """Scale a band, which is changed, and give it a black and a white: (H, W) of 0 to 1; None: it has none."""
    known = np.isfinite(band_HW)
    seen = band_HW.reshape(-1) if known.all() else band_HW[known]
    if not seen.size:
        return None
    level = np.median(sampled(seen, LEVEL_PIXELS))
    if seen.size < band_HW.size:
        band_HW[~known] = level
    band_HW -= level  # OpenCV's weights are single floats, whose errors a large level would show
    small = scale(band_HW[..., None], THUMBNAIL_SIDE)[..., 0]
    level, noise = background(small.reshape(-1))
    if noise == 0:
        return None
    bright = np.arcsinh((small - level) / (LINEAR_SIGMA * noise))
    low, high = np.percentile(bright, [BLACK_PERCENTILE, WHITE_PERCENTILE])
    if not high > low:  # mostly one number, such as an empty sky
        low, high = bright.min(), bright.max()
    return np.clip((bright - low) / (high - low), 0, 1)
