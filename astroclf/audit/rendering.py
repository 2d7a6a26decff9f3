"""A second look at a file: what it shows, read and scaled by other code than the decoder's.

Kept apart from `data.decode` on purpose, and plain: what is wrong there shall not be wrong here too. FITS images are
shown as astronomers' viewers do (ZScale, linear, first row at the bottom), all others from their least number to their
largest. Axes that are not rows and columns give one plane, which is said, or colors where there are three or four.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from astroclf.data.catalog import Source
from astroclf.settings.fits import is_fits
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import h5py
    import tifffile
    from astropy import visualization
    from astropy.io import fits
else:  # each takes a second to import: only where such a file is met
    h5py, tifffile = lazy_import("h5py"), lazy_import("tifffile")
    fits, visualization = lazy_import("astropy.io.fits"), lazy_import("astropy.visualization")

MAX_VALUES = 2**25  # of an image that is drawn, 134 MB as float32: a report is not worth the memory of a mosaic
COLORS = (3, 4)


class Rendering(NamedTuple):
    """What a file shows."""

    image_HWC: np.ndarray  # uint8, C = 1 or 3
    words: str  # how it was read and scaled


def render_source(source: Source, hdu: int | str | None = None) -> list[Rendering]:
    """Draw the file of a sample, or each of its files; with `row`, one image of an array file.

    Parameters
    ----------
    hdu
        Of FITS files; None: the first that holds an image.

    Raises
    ------
    Exception
        Whatever the readers of these formats raise; a ValueError for what is too large.
    """
    with warnings.catch_warnings(action="ignore"):  # of readers about single files
        return [_render(path, source, hdu) for path in source.files]


def _render(path: Path, source: Source, hdu: int | str | None) -> Rendering:
    if source.row is not None:
        pixels, words = _plain(_row_of_array(path, source.array, source.row))
    elif is_fits(path):
        return _render_fits(path, hdu)
    elif path.suffix.lower() in (".tif", ".tiff"):
        pixels, words = _read_tiff(path)
    elif path.suffix.lower() == ".npy":
        pixels, words = _plain(np.load(path, mmap_mode="r", allow_pickle=False))
    else:
        pixels, words = _read_picture(path), ""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    low, high = (float(end(pixels[np.isfinite(pixels)])) for end in (np.min, np.max))
    return Rendering(_to_bytes((pixels - low) / ((high - low) or 1.0)), _joined(words, f"{low:.4g} to {high:.4g}"))


def _render_fits(path: Path, hdu: int | str | None) -> Rendering:
    with fits.open(path) as hdus:
        chosen = hdus[hdu] if hdu is not None else next(h for h in hdus if h.is_image and len(h.shape) > 1)
        _check_size(chosen.shape)
        pixels, words = _plain(chosen.data)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    planes = []
    for plane in np.moveaxis(pixels, -1, 0):
        shown = plane[np.isfinite(plane)]
        scale = visualization.ImageNormalize(shown, interval=visualization.ZScaleInterval(), clip=True)
        planes.append(np.where(np.isfinite(plane), np.asarray(scale(np.nan_to_num(plane))), 0.0))
    return Rendering(_to_bytes(np.stack(planes[:3], axis=-1)[::-1]), _joined(words, "ZScale"))


def _read_tiff(path: Path) -> tuple[np.ndarray, str]:
    try:
        with tifffile.TiffFile(path) as file:
            series, page = file.series[0], file.pages.first
            _check_size(series.shape)
            pixels, axes = series.asarray(), series.axes
            inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    except (ImportError, ValueError):
        return _read_picture(path), ""  # some compressions are known to Pillow alone
    if inverted:
        pixels = pixels.max() - pixels
    samples = axes.find("S")
    pixels = np.moveaxis(pixels, samples, -1) if samples >= 0 else pixels[..., None]
    pages = pixels.reshape(-1, *pixels.shape[-3:])
    colors = 3 if pages.shape[-1] >= 3 else 1
    return pages[len(pages) // 2, ..., :colors], f"page {len(pages) // 2 + 1} of {len(pages)}" if len(pages) > 1 else ""


def _read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        _check_size(picture.size)
        upright = ImageOps.exif_transpose(picture)
        wide = upright.mode.startswith(("I", "F"))
        return np.asarray(upright if wide else upright.convert("L" if upright.mode in ("1", "L") else "RGB"))


def _row_of_array(path: Path, array: str, row: int) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)[row])
    if path.suffix == ".npz":
        raise ValueError("an archive that would have to be unpacked for each image")
    with h5py.File(path, "r") as file:
        return np.asarray(file[array][row])


def _plain(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Take (H, W) or (H, W, 3) of an array of any number of axes, and say what was taken.

    Three or four planes are colors, last or first; of others the middle one is taken.
    """
    _check_size(values.shape)
    image = np.squeeze(values)
    words = []
    while image.ndim > 3 or (image.ndim == 3 and not {image.shape[0], image.shape[-1]} & {*COLORS}):
        plane = image.shape[0] // 2
        words.append(f"plane {plane} of {image.shape[0]}")
        image = image[plane]
    if image.ndim < 2:
        raise ValueError(f"{' x '.join(map(str, values.shape))} values are no image")
    if image.ndim == 3:
        last = image.shape[-1] in COLORS
        image = image[..., :3] if last else np.moveaxis(image[:3], 0, -1)
        words.append(f"axis {'last' if last else 'first'} as colors")
    return np.asarray(image), ", ".join(words)


def _check_size(shape: tuple[int, ...]) -> None:
    if np.prod(shape, dtype=float) > MAX_VALUES:
        raise ValueError(f"{' x '.join(map(str, shape))} is too large to be drawn here")


def _to_bytes(unit: np.ndarray) -> np.ndarray:
    """Turn numbers from 0 to 1 into grey levels, unknown ones into black."""
    return np.rint(255 * np.clip(np.nan_to_num(unit.astype(np.float32)), 0, 1)).astype(np.uint8)


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))
