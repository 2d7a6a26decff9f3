"""One file of any kind that astronomers keep images in, to a picture: uint8, of a fixed square size.

`pictures`, `tiff` and `fits` read the numbers that a file holds; `tone` makes grey of them, by a rule that is decided
once for a data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.arrays import NPY_SUFFIX
from astroclf.data.decode.bands import in_fours
from astroclf.data.decode.companions import companion_file
from astroclf.data.decode.crop import cropped
from astroclf.data.decode.fits import read_band_files, read_fits
from astroclf.data.decode.limits import one_large_at_a_time
from astroclf.data.decode.pictures import picture_suffixes, read_picture
from astroclf.data.decode.tone import Tone, to_grey
from astroclf.data.decode.values import Decoded, Values
from astroclf.errors import ImageError
from astroclf.settings.fits import is_fits
from astroclf.settings.reading import ReadSettings

TIFF_SUFFIXES = (".tif", ".tiff")
STRIP_ASPECT = 8  # longer than so many times their width, images are called strips

# Raise this whenever the same file would give other pixels than before: image caches of the old rules are then rebuilt.
PREPARATION_VERSION = 4


def is_image(path: Path) -> bool:
    """Tell if a name is one of a picture, array or FITS file."""
    return (
        path.suffix.lower() in (*TIFF_SUFFIXES, NPY_SUFFIX)
        or is_fits(path)
        or path.suffix.lower() in picture_suffixes()
    )


def decode_file(
    path: Path, settings: ReadSettings | None = None, channels: int = 3, tones: Mapping[str, Tone] | None = None
) -> Decoded:
    """Decode one file at its own size.

    Parameters
    ----------
    tones
        How each kind of numbers becomes grey. What is not among them is decided from this file alone.

    Returns
    -------
    Decoded
        (H, W, 3) uint8, RGB, where `channels` is 1 or 3: a data set in grey is made of the same pictures as one in
        color, by `to_channels`. Else (H, W, channels), one plane a band.

    Raises
    ------
    ImageError
        The file is missing, empty, damaged, too large, or holds no image of so many bands.
    """
    settings = settings or ReadSettings.with_defaults()
    with one_large_at_a_time():
        values = cut_out(read_values(path, settings, channels), settings, str(path))
        return to_picture(values, settings, channels, tones or {}, str(path))


def decode_bands(
    paths: Sequence[Path],
    where: str,
    settings: ReadSettings,
    channels: int = 3,
    tones: Mapping[str, Tone] | None = None,
) -> Decoded:
    """Decode one sample whose bands are FITS files of their own, in channel order; as `decode_file`.

    `where` names the sample in errors that are of no single file.
    """
    with one_large_at_a_time():
        values = cut_out(read_bands(paths, where, settings, channels), settings, where)
        return to_picture(values, settings, channels, tones or {}, where)


def read_values(path: Path, settings: ReadSettings, channels: int = 3) -> Values:
    """Read the numbers of one file, uncut."""
    _check_there(path)
    with one_large_at_a_time():
        values = read_fits(path, settings, channels) if is_fits(path) else read_picture(path, settings, channels)
    word = companion_file(path)
    if word:
        values = values.noted(Note("companion", f"{path}: by its name the companion of an image ({word}), and none."))
    return values


def read_bands(paths: Sequence[Path], where: str, settings: ReadSettings, channels: int = 3) -> Values:
    """Read the numbers of one sample whose bands are FITS files of their own, uncut."""
    for path in paths:
        if not path.exists():
            raise ImageError(f"{path}: there is no such file, one of the bands in dataset.fits.files.", "missing")
        _check_there(path)
    with one_large_at_a_time():
        return read_band_files(paths, settings, channels, where)


def cut_out(values: Values, settings: ReadSettings, where: str) -> Values:
    """Take the centre cut-out that is asked for, and note what strikes the eye: an image that is a strip."""
    values = cropped(values, settings, where)
    height, width = values.pixels_HWP.shape[:2]
    if max(height, width) <= STRIP_ASPECT * min(height, width):
        return values
    return values.noted(Note("strip", f"{where}: an image of {width} x {height} pixels is a strip."))


def to_picture(values: Values, settings: ReadSettings, channels: int, tones: Mapping[str, Tone], where: str) -> Decoded:
    """Make the picture of what `cut_out` gave: grey is repeated where color is wanted."""
    image_HWP, notes = to_grey(values, tones, settings.tone, where)
    if image_HWP.shape[2] == 1 and channels in (1, 3):
        image_HWP = np.repeat(image_HWP, 3, axis=2)
    return Decoded(np.ascontiguousarray(image_HWP), notes)


def _check_there(path: Path) -> None:
    """Refuse a file that is missing or empty, before a decoder says something less clear."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.", "missing") from error
    if size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes).", "empty")


def fit_square(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Scale the longest side of a uint8 image to `size`, and pad with zeros around the centre: (size, size, C)."""
    image_HWC = scale(image_HWC, size)
    height, width, channels = image_HWC.shape
    if height == width == size:
        return image_HWC
    square = np.zeros((size, size, channels), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image_HWC
    return square


def scale(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Scale the longest side of an image, uint8 or floats, to `size`, and keep the aspect.

    Shrinking averages over areas (no aliasing of stars and noise). Growing is linear: cubic and Lanczos overshoot
    and would draw dark rings around stars.
    """
    height, width = image_HWC.shape[:2]
    longest = max(height, width)
    if longest == size:
        return image_HWC
    new_height, new_width = (max(1, round(side * size / longest)) for side in (height, width))
    method = cv2.INTER_AREA if longest > size else cv2.INTER_LINEAR

    def resize(part: np.ndarray) -> np.ndarray:
        resized = cv2.resize(part, (new_width, new_height), interpolation=method)
        return resized.reshape(new_height, new_width, part.shape[2])  # OpenCV drops a single channel

    return in_fours(resize, image_HWC)
