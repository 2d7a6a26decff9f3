"""One numpy array a file (.npy): grey, color in either order of axes, or a stack of planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.axes import choose_planes, planes_first
from astroclf.data.decode.bands import check_bands
from astroclf.data.decode.limits import claim_values, size_text
from astroclf.data.decode.values import Values, numbers
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings

NPY_SUFFIX = ".npy"
NPY_MAGIC, ZIP_MAGIC = b"\x93NUMPY", b"PK\x03\x04"
RGBA = 4  # samples


def read_array(path: Path, settings: ReadSettings, channels: int) -> Values:
    """Read one .npy file, first row on top.

    The axis of at most four numbers, or of `channels`, holds the bands, be it first or last. Booleans become black
    and white; a fourth 8-bit sample behind red, green and blue is transparency, unless four channels are wanted.

    Raises
    ------
    ImageError
        The file is an archive, holds Python objects, is damaged, or is no image.
    """
    values = _load(path)
    if values.ndim < 2:
        raise ImageError(
            f"{path}: an array of shape {values.shape} is no image: it has no rows and columns.", "no image"
        )
    if values.dtype.kind not in "biuf":
        raise ImageError(f"{path}: an array of {values.dtype.name} is no image: numbers are wanted.", "no image")
    claim_values(values.shape, path)
    planes_PHW, notes = planes_first(values, channels, path, "smallest")
    planes_PHW = _in_memory(planes_PHW)
    if planes_PHW.dtype == np.uint8 and len(planes_PHW) == RGBA != channels and not settings.planes:
        planes_PHW = np.rint(planes_PHW[:3] * (planes_PHW[3:] / 255)).astype(np.uint8)
        notes = (*notes, Note("guessed axes", f"{path}: the fourth of its four samples is taken as transparency."))
    bands_PHW = choose_planes(planes_PHW, settings, {1, 3, channels}, path)
    check_bands(len(bands_PHW), channels, str(path), f"{size_text(values.shape)} numbers")
    return numbers(np.moveaxis(bands_PHW, 0, 2), *notes)


def _load(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(ZIP_MAGIC):
        raise ImageError(
            f"{path}: an archive of arrays (.npz) under the name of one array: save that with numpy.save.",
            "no image",
        )
    if not start.startswith(NPY_MAGIC):
        raise ImageError(f"{path}: damaged, or no array that numpy.save wrote.", "damaged")
    # numpy meets arbitrary bytes here and raises whatever its parser stumbled over.
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        stored = path.stat().st_size - values.offset
    except Exception as error:
        text = str(error)
        if "Array can't be memory-mapped" in text or "Object arrays" in text:
            raise ImageError(
                f"{path}: it holds Python objects, not numbers, which could run code when read: save a plain array.",
                "no image",
            ) from error
        kind = "truncated" if "length is greater than file size" in text else "damaged"
        raise ImageError(f"{path}: damaged or truncated: {' '.join(text.split()).rstrip('.')}.", kind) from error
    if stored != values.nbytes:
        raise ImageError(
            f"{path}: damaged: {stored - values.nbytes} bytes more than its shape {values.shape} says.", "damaged"
        )
    return values


def _in_memory(values: np.ndarray) -> np.ndarray:
    """Copy a memory map, in native byte order: booleans as 8 bits, half floats as single ones."""
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return np.array(values, values.dtype.newbyteorder("="))
