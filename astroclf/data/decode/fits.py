"""FITS files: which HDU, which planes, one file or one a band; `tone` makes grey of what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.axes import STOKES, AxisNames, choose_planes, planes_first
from astroclf.data.decode.bands import check_bands
from astroclf.data.decode.checksums import check_datasum, decompressed
from astroclf.data.decode.companions import companion_word
from astroclf.data.decode.crop import header_pixel_scale
from astroclf.data.decode.limits import MAX_BYTES, claim_values, size_text
from astroclf.data.decode.values import FITS, Values
from astroclf.errors import ImageError
from astroclf.settings.fits import FitsSettings
from astroclf.settings.reading import ReadSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy.io import fits
else:
    fits = lazy_import("astropy.io.fits")  # takes a second to import: only where a FITS file is met

STRIP_VALUES = 2**21  # numbers that are read from the file at once


class _Image(NamedTuple):
    """What one HDU holds."""

    values: np.ndarray  # floating point, as many axes as in the file; NaN where unknown
    axes: AxisNames
    header: Any
    notes: tuple[Note, ...] = ()


def read_fits(path: Path, settings: ReadSettings, channels: int = 3) -> Values:
    """Read one FITS file, north as it has it (its first row is the bottom one, as FITS viewers show).

    A 2-D image is one band. A cube is one band a plane where it has 3 or `channels` planes, or where ``planes`` chooses
    some; else it is collapsed to one. Which of its axes are planes, `axes` tells. Several HDUs give one band each.
    Integer scaling (BSCALE, BZERO, unsigned), byte order, tile compression, .gz and .bz2 are undone by astropy.

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
        bands = [_bands(image, settings, 1, {1}, path) for image in images]
        bands_PHW = _stacked([band[0] for band, _ in bands], settings.fits.hdu, "HDU", str(path))
        notes = tuple(note for _, said in bands for note in said)
        given_by = f"{len(images)} HDUs"
    else:
        bands_PHW, notes = _bands(images[0], settings, channels, {1, 3, channels}, path)
        given_by = f"{size_text(images[0].values.shape)} values"
    values = _values(bands_PHW, channels, str(path), given_by, notes)
    return replace(values, pixel_scale_arcsec=_pixel_scale(images[0], settings))


def read_hdu(hdu: Any, settings: ReadSettings, channels: int, where: str) -> Values:
    """Read one HDU that astropy has opened or made, as `read_fits` reads the one that it chooses in a file.

    Raises
    ------
    ImageError
        It is no image, is damaged, or has another number of bands than `channels` asks for.
    """
    if not _is_image(hdu):
        raise ImageError(f"{where}: this HDU is not an image but {_kind(hdu)}.", "no image")
    claim_values(hdu.shape, where)
    try:  # astropy reads its file, if it has one, only now
        stored = np.asarray(hdu.data)
        values = stored.astype(np.result_type(np.float32, stored.dtype.newbyteorder("=")))
    except Exception as error:
        raise ImageError(f"{where}: its numbers cannot be read ({error}).", "damaged") from error
    values[~np.isfinite(values)] = np.nan
    image = _Image(values, axis_names(hdu), hdu.header)
    bands_PHW, notes = _bands(image, settings, channels, {1, 3, channels}, where)
    found = _values(bands_PHW, channels, where, f"{size_text(values.shape)} values", notes)
    return replace(found, pixel_scale_arcsec=_pixel_scale(image, settings))


def read_band_files(paths: Sequence[Path], settings: ReadSettings, channels: int, where: str) -> Values:
    """Read one sample whose bands are files of their own, in channel order; as `read_fits`. `where` names it in errors.

    Raises
    ------
    ImageError
        A file is missing or holds no usable image, or the bands differ in size.
    """
    bands: list[np.ndarray] = []
    notes: list[Note] = []
    scale: float | None = None
    for path in paths:
        image = _read_images(path, settings.fits)[0]
        scale = scale or _pixel_scale(image, settings)
        bands_1HW, said = _bands(image, settings, 1, {1}, path)
        bands.append(bands_1HW[0])
        notes += said
    bands_PHW = _stacked(bands, [path.name for path in paths], "file", where)
    values = _values(bands_PHW, channels, where, f"{len(paths)} files", tuple(notes))
    return replace(values, pixel_scale_arcsec=scale)


def _values(bands_PHW: np.ndarray, channels: int, where: str, given_by: str, notes: tuple[Note, ...]) -> Values:
    check_bands(len(bands_PHW), channels, where, given_by)
    return Values(np.moveaxis(_top_first(bands_PHW), 0, 2), FITS, notes)


def _top_first(bands_PHW: np.ndarray) -> np.ndarray:
    """Turn the rows round, in place: most of what is done to a view turned round would copy it."""
    height = bands_PHW.shape[1]
    half = height // 2
    step = max(1, STRIP_VALUES // max(1, bands_PHW[:, 0].size))
    for start in range(0, half, step):
        above = slice(start, min(start + step, half))
        below = slice(height - above.stop, height - start)
        kept = bands_PHW[:, above].copy()
        bands_PHW[:, above] = bands_PHW[:, below][:, ::-1]
        bands_PHW[:, below] = kept[:, ::-1]
    return bands_PHW


def _pixel_scale(image: _Image, settings: ReadSettings) -> float | None:
    """Return the pixel scale where it matters: a WCS takes 10 ms."""
    return header_pixel_scale(image.header) if settings.cutout and settings.cutout.unit == "arcsec" else None


def _bands(
    image: _Image, settings: ReadSettings, channels: int, kept: set[int], path: Path | str
) -> tuple[np.ndarray, tuple[Note, ...]]:
    """Choose the bands, (P, H, W), of what an HDU holds."""
    planes_PHW, notes = planes_first(image.values, channels, path, "first", image.axes)
    return choose_planes(planes_PHW, settings, kept, path), image.notes + notes


def _stacked(bands: Sequence[np.ndarray], names: Sequence[Any], kind: str, where: str) -> np.ndarray:
    for band, name in zip(bands, names, strict=True):
        if band.shape != bands[0].shape:
            raise ImageError(
                f"{where}: its bands differ in size: {size_text(bands[0].shape)} in {kind} {names[0]}, "
                f"{size_text(band.shape)} in {kind} {name}. Bands must lie on the same pixels: resample them first.",
                "wrong bands",
            )
    return np.stack(bands)


# ---- from the file to arrays ----------------------------------------------------------------------------------------


def _read_images(path: Path, settings: FitsSettings) -> list[_Image]:
    """Read each HDU that the settings name."""
    # astropy meets arbitrary bytes here and raises whatever its parser stumbled over (OSError, ValueError, TypeError,
    # zlib.error, EOFError, ...): all of it means that this file is damaged.
    try:
        # uint=False: unsigned integers arrive as floats like everything that is scaled, and BLANK becomes NaN.
        with decompressed(path, MAX_BYTES) as content, fits.open(content, memmap=False, uint=False) as hdus:
            chosen = settings.hdu if isinstance(settings.hdu, list) else [settings.hdu]
            return [_read_hdu(hdus, name, settings, path) for name in chosen]
    except ImageError:
        raise
    except Exception as error:
        # The first sentence: astropy's further ones are hints for those who call it.
        fault = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        short = "cannot reshape" in fault or "buffer is too small" in fault  # fewer values than the header announces
        kind = "truncated" if short else "damaged"
        raise ImageError(f"{path}: damaged, or not a FITS file: {fault}.", kind) from error


def _read_hdu(hdus: Any, name: int | str | None, settings: FitsSettings, path: Path) -> _Image:
    hdu = choose_hdu(hdus, name, path)
    claim_values(hdu.shape, path)
    if settings.checksum:
        check_datasum(hdu, path)
    notes = _passed_over(hdus, hdu, path) if name is None else ()
    return _Image(_read_values(hdu), axis_names(hdu), hdu.header, notes)


def _read_values(hdu: Any) -> np.ndarray:
    """Read the numbers of an HDU strip by strip, so that they are in memory once; infinities become NaN."""
    axis = next((axis for axis, length in enumerate(hdu.shape) if length > 1), 0)
    step = max(1, STRIP_VALUES * hdu.shape[axis] // max(1, int(np.prod(hdu.shape, dtype=np.int64))))
    values: np.ndarray | None = None
    for start in range(0, hdu.shape[axis], step):
        place = (slice(None),) * axis + (slice(start, start + step),)
        strip = hdu.section[place]
        if values is None:
            # Native byte order; 64 bits only where 32 would lose some.
            values = np.empty(hdu.shape, np.result_type(np.float32, strip.dtype.newbyteorder("=")))
        values[place] = strip
        np.copyto(values[place], np.nan, where=~np.isfinite(values[place]))
    assert values is not None
    return values


def axis_names(hdu: Any) -> AxisNames:
    """Return what the header of an image HDU says of its axes."""
    header, axes = hdu.header, range(len(hdu.shape), 0, -1)  # the last axis of FITS is the first one here
    names = tuple(str(header.get(f"CTYPE{axis}", "")) for axis in axes)
    stokes_i: int | None = 0
    for axis, name in zip(axes, names, strict=True):
        if name.strip().upper() == STOKES and f"CRVAL{axis}" in header:  # 1 is I, 2 to 4 Q, U, V
            step = float(header.get(f"CDELT{axis}", 1)) or 1.0
            place = float(header.get(f"CRPIX{axis}", 1)) - 1 + (1 - float(header[f"CRVAL{axis}"])) / step
            stokes_i = round(place) if np.isfinite(place) else None
    return AxisNames(names, stokes_i)


def _passed_over(hdus: Any, chosen: Any, path: Path) -> tuple[Note, ...]:
    """Say that a mask is all there is, or that there are further images."""
    word = companion_word(chosen.name)
    if word:
        return (Note("companion", f"{path}: its image is HDU {chosen.name}, by its name a companion of one ({word})."),)
    try:
        others = [hdu for hdu in hdus if hdu is not chosen and _is_image(hdu) and not companion_word(hdu.name)]
    except Exception:  # what lies behind the image is damaged, with whatever error, and says nothing against it
        return ()
    if not others:
        return ()
    named = ", ".join(f"{hdus.index(hdu)}: {hdu.name or 'PRIMARY'}" for hdu in (chosen, *others)[:6])
    text = f"{len(others) + 1} of its HDUs hold images ({named}), of which the first is taken"
    return (Note("several HDUs", f"{path}: {text}: dataset.fits.hdu chooses."),)


def choose_hdu(hdus: Any, name: int | str | None, path: Path) -> Any:
    """Return the HDU of this index or name; None: the first that holds an image.

    One whose name says mask, weight, error or PSF is only taken where there is no other.

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
    companion = None
    for hdu in hdus:  # no further than needed: what comes behind may be damaged
        if _is_image(hdu) and not companion_word(hdu.name):
            return hdu
        companion = companion or (hdu if _is_image(hdu) else None)
    if companion is not None:
        return companion
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
