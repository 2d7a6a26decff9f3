"""FITS files: which HDU, which planes, one file or one a band; `tone` makes grey of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.data.decode.bands import check_bands
from astroclf.data.decode.checksums import check_datasum, decompressed
from astroclf.data.decode.values import FITS, Values
from astroclf.errors import ImageError
from astroclf.settings.fits import FitsSettings
from astroclf.settings.reading import ReadSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy.io import fits
else:
    fits = lazy_import("astropy.io.fits")  # takes a second to import: only where a FITS file is met

MAX_VALUES = 2**28  # 1 GB as float32: more is a survey mosaic or a damaged header, not a cut-out
MAX_BYTES = 8 * MAX_VALUES  # that a compressed file may unpack to

COLLAPSE_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.nanmean,
    "median": np.nanmedian,
    "max": np.nanmax,
}


def read_fits(path: Path, settings: ReadSettings, channels: int = 3) -> Values:
    """Read one FITS file, north as it has it (its first row is the bottom one, as FITS viewers show).

    A 2-D image is one band. A cube is one band a plane where it has 3 or `channels` planes, (P, H, W) or (H, W, 3), or
    where ``planes`` chooses some; else it is collapsed to one. Several HDUs give one band each. Integer scaling
    (BSCALE, BZERO, unsigned), byte order, tile compression, .gz and .bz2 are undone by astropy.

    Returns
    -------
    Values
        Of 1, 3 or `channels` bands.

    Raises
    ------
    ImageError
        No image in the file: table only, zero-sized, damaged. Another number of bands than `channels` asks for.
    """
    images = _read_images(path, settings.fits)
    if isinstance(settings.fits.hdu, list):
        bands = [_one_band(image, settings, path) for image in images]
        bands_PHW = _stacked(bands, settings.fits.hdu, "HDU", str(path))
        given_by = f"{len(images)} HDUs"
    else:
        bands_PHW = _bands(images[0], settings, {1, 3, channels}, path)
        given_by = f"{_size(images[0].shape)} values"
    return _values(bands_PHW, channels, str(path), given_by)


def read_band_files(paths: Sequence[Path], settings: ReadSettings, channels: int, where: str) -> Values:
    """Read one sample whose bands are files of their own, in channel order; as `read_fits`. `where` names it in errors.

    Raises
    ------
    ImageError
        A file is missing or holds no usable image, or the bands differ in size.
    """
    bands = [_one_band(_read_images(path, settings.fits)[0], settings, path) for path in paths]
    bands_PHW = _stacked(bands, [path.name for path in paths], "file", where)
    return _values(bands_PHW, channels, where, f"{len(paths)} files")


def _values(bands_PHW: np.ndarray, channels: int, where: str, given_by: str) -> Values:
    check_bands(len(bands_PHW), channels, where, given_by)
    return Values(np.moveaxis(bands_PHW, 0, 2)[::-1], FITS)


# ---- from the file to arrays ----------------------------------------------------------------------------------------


def _read_images(path: Path, settings: FitsSettings) -> list[np.ndarray]:
    """Read the values of each HDU that the settings name, of two or more axes, floating point."""
    # astropy meets arbitrary bytes here and raises whatever its parser stumbled over (OSError, ValueError, TypeError,
    # zlib.error, EOFError, ...): all of it means that this file is damaged.
    try:
        # uint=False: unsigned integers arrive as floats like everything that is scaled, and BLANK becomes NaN.
        with fits.open(decompressed(path, MAX_BYTES), memmap=False, uint=False) as hdus:
            chosen = settings.hdu if isinstance(settings.hdu, list) else [settings.hdu]
            return [_read_values(choose_hdu(hdus, name, path), settings, path) for name in chosen]
    except ImageError:
        raise
    except Exception as error:
        # The first sentence: astropy's further ones are hints for those who call it.
        fault = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        short = "cannot reshape" in fault or "buffer is too small" in fault  # fewer values than the header announces
        kind = "truncated" if short else "damaged"
        raise ImageError(f"{path}: damaged, or not a FITS file: {fault}.", kind) from error


def _read_values(hdu: Any, settings: FitsSettings, path: Path) -> np.ndarray:
    _check_axes(hdu, path)
    if settings.checksum:
        check_datasum(hdu, path)
    values = hdu.data
    if values is None:
        raise ImageError(f"{path}: HDU {hdu.name or 'PRIMARY'} holds no data.", "no image")
    return np.asarray(values, dtype=np.result_type(np.float32, values.dtype.newbyteorder("=")))


def choose_hdu(hdus: Any, name: int | str | None, path: Path) -> Any:
    """Return the HDU of this index or name; None: the first that holds an image.

    Raises
    ------
    ImageError
        There is none, or it is no image.
    """
    if name is not None:
        try:
            hdu = hdus[name]
        except (KeyError, IndexError) as error:
            names = ", ".join(f"{i}: {h.name or type(h).__name__}" for i, h in enumerate(hdus))
            raise ImageError(
                f"{path}: there is no HDU `{name}` (dataset.fits.hdu); the file has {names}.", "no image"
            ) from error
        if not _is_image(hdu):
            raise ImageError(f"{path}: HDU `{name}` (dataset.fits.hdu) is not an image but {_kind(hdu)}.", "no image")
        return hdu
    for hdu in hdus:
        if _is_image(hdu):
            return hdu
    kinds = ", ".join(_kind(hdu) for hdu in hdus)
    raise ImageError(f"{path}: no HDU holds an image; the file has {kinds}.", "no image")


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and not isinstance(hdu, fits.GroupsHDU) and len(hdu.shape) >= 2


def _kind(hdu: Any) -> str:
    if isinstance(hdu, fits.GroupsHDU):
        return "random groups (interferometer visibilities)"
    if not hdu.is_image:
        return "a table"
    return f"{len(hdu.shape)}-D data" if hdu.shape else "a header without data"


def _check_axes(hdu: Any, path: Path) -> None:
    if 0 in hdu.shape:
        raise ImageError(f"{path}: the image has an axis of size zero ({_size(hdu.shape)}).", "no image")
    if np.prod(hdu.shape, dtype=float) > MAX_VALUES:
        raise ImageError(
            f"{path}: {_size(hdu.shape)} values are more than the limit of {MAX_VALUES:,}: a damaged header, or a "
            "mosaic to be cut into cut-outs first.",
            "too large",
        )


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


# ---- from arrays to bands -------------------------------------------------------------------------------------------


def _bands(values: np.ndarray, settings: ReadSettings, kept: set[int], path: Path) -> np.ndarray:
    """Turn values (H, W), (P, H, W) or (H, W, 3) into bands (P, H, W); infinities become NaN.

    A cube is collapsed to one band unless `planes` chooses of it, or the number of its planes is in `kept`.
    """
    while values.ndim > 3 and values.shape[0] == 1:  # radio images: degenerate Stokes and frequency axes
        values = values[0]
    if values.ndim > 3:
        raise ImageError(f"{path}: the image has {values.ndim} axes ({_size(values.shape)}).", "no image")
    if values.ndim == 2:
        values = values[None]
    elif values.shape[0] != 3 and values.shape[2] == 3:
        values = np.moveaxis(values, 2, 0)
    if settings.planes:
        if max(settings.planes) >= len(values):
            raise ImageError(
                f"{path}: there is no plane {max(settings.planes)} (dataset.planes); the image has "
                f"{len(values)}, counted from 0.",
                "wrong bands",
            )
        values = values[settings.planes]
    values = np.where(np.isfinite(values), values, np.nan)
    return values if settings.planes or len(values) in kept else _collapsed(values, settings)[None]


def _one_band(values: np.ndarray, settings: ReadSettings, path: Path) -> np.ndarray:
    return _bands(values, settings, {1}, path)[0]


def _collapsed(cube_PHW: np.ndarray, settings: ReadSettings) -> np.ndarray:
    """Collapse a cube to one image, over the known values of each pixel; NaN where there is none."""
    seen_HW = np.isfinite(cube_PHW).any(axis=0)
    collapsed_HW = np.full(cube_PHW.shape[1:], np.nan, cube_PHW.dtype)
    collapsed_HW[seen_HW] = COLLAPSE_FUNCTIONS[settings.collapse](cube_PHW[:, seen_HW], axis=0)
    return collapsed_HW


def _stacked(bands: Sequence[np.ndarray], names: Sequence[Any], kind: str, where: str) -> np.ndarray:
    for band, name in zip(bands, names, strict=True):
        if band.shape != bands[0].shape:
            raise ImageError(
                f"{where}: its bands differ in size: {_size(bands[0].shape)} in {kind} {names[0]}, "
                f"{_size(band.shape)} in {kind} {name}. Bands must lie on the same pixels: resample them first.",
                "wrong bands",
            )
    return np.stack(bands)
