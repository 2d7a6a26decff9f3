"""Facts about the files of a data set that their headers tell: format, color mode, bits, size."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from astroclf.data.catalog import Catalog
from astroclf.data.decode.arrays import NPY_SUFFIX
from astroclf.data.decode.axes import planes_first
from astroclf.data.decode.fits import axis_names, choose_hdu
from astroclf.data.decode.tiff import listening
from astroclf.settings.fits import FitsSettings, is_fits
from astroclf.util.lazy import lazy_import
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

if TYPE_CHECKING:
    import tifffile
    from astropy.io import fits
else:
    tifffile = lazy_import("tifffile")
    fits = lazy_import("astropy.io.fits")  # takes a second to import: only where a FITS file is met

_WIDE_MODES = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_TIFF_BITS_PER_SAMPLE = 258
_FITS_MODES = {8: "uint8", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}


class FileFacts(NamedTuple):
    """The facts about an image that its file's header tells."""

    format: str  # JPEG, PNG, FITS, HDF5, ...
    mode: str  # Pillow's name, or the type of the numbers in the file
    bits: int  # per channel
    width: int
    height: int


@runtime_checkable
class HasFacts(Protocol):
    """A reader that can tell what its files are without decoding them."""

    catalog: Catalog

    def facts(self, row: int) -> FileFacts | None:
        """Return what the header of a row's file says, or None; called from several threads."""
        ...


def read_facts(reader: HasFacts, *, num_workers: int | None = None, progress: bool = True) -> list[FileFacts | None]:
    """Read the header of every row's file, with several threads."""
    rows = range(len(reader.catalog))
    with (
        warnings.catch_warnings(action="ignore"),
        ProgressBar("Reading headers", len(rows), enabled=progress) as bar,
    ):
        return list(bar.count(run_ahead(reader.facts, rows, num_workers or available_cores())))


def file_facts(path: Path, fits: FitsSettings) -> FileFacts | None:
    """Read the header of one picture or FITS file; None where it cannot be read."""
    read = (_fits_facts,) if is_fits(path) else (_array_facts,) if path.suffix == NPY_SUFFIX else PICTURE_READERS
    for facts in read:
        try:
            return facts(path, fits)
        except Exception:  # arbitrary bytes: any parser error may come from them, and decoding says what is wrong
            continue
    return None


def _picture_facts(path: Path, _: FitsSettings) -> FileFacts:
    with Image.open(path) as picture:
        return FileFacts(str(picture.format), picture.mode, _bits(picture), *picture.size)


def _tiff_facts(path: Path, _: FitsSettings) -> FileFacts:
    with listening(), tifffile.TiffFile(path) as file:
        page = file.pages.first
        bits = int(np.max(page.bitspersample))
        return FileFacts("TIFF", np.dtype(page.dtype).name, bits, page.imagewidth, page.imagelength)


PICTURE_READERS = (_picture_facts, _tiff_facts)  # the second for TIFF files that Pillow does not know


def _array_facts(path: Path, _: FitsSettings) -> FileFacts:
    values = np.load(path, mmap_mode="r", allow_pickle=False)
    height, width = planes_first(values, 3, path, "smallest").values_PHW.shape[1:]
    return FileFacts("npy", values.dtype.name, 8 * values.dtype.itemsize, width, height)


def _bits(picture: Image.Image) -> int:
    """Find the bits per channel in the file: Pillow opens 16-bit color as 8-bit."""
    declared = getattr(picture, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE)
    if declared:
        return int(np.max(declared))
    tiles = getattr(picture, "tile", None)
    raw = str(tiles[0][3]) if tiles else ""
    return 16 if ";16" in raw else _WIDE_MODES.get(picture.mode, 8)


def _fits_facts(path: Path, settings: FitsSettings) -> FileFacts:
    with fits.open(path) as hdus:
        hdu = choose_hdu(hdus, settings.hdu[0] if isinstance(settings.hdu, list) else settings.hdu, path)
        bits, offset = int(hdu.header["BITPIX"]), float(hdu.header.get("BZERO", 0))
        planes = planes_first(np.broadcast_to(np.uint8(0), hdu.shape), 3, path, "first", axis_names(hdu))
    unsigned = bits > 8 and offset == 2.0 ** (bits - 1)  # the FITS way to write unsigned integers
    height, width = planes.values_PHW.shape[1:]
    return FileFacts("FITS", "u" * unsigned + _FITS_MODES[bits], abs(bits), width, height)
