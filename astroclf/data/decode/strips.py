"""The numbers of a TIFF page: by tifffile, and by what is here where tifffile would need imagecodecs.

That is LZW, JPEG and JPEG 2000 inside TIFF, packed integers, and floats that are stored as differences.
"""

from __future__ import annotations

import importlib.util
import io
import zlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from astroclf.data.decode.lzw import unpack_lzw
from astroclf.errors import ImageError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import tifffile
else:
    tifffile = lazy_import("tifffile")  # takes half a second to import: only where a TIFF file is met

NONE, LZW, PACKBITS, RGB = 1, 5, 32773, 2
BY_ZLIB = (8, 32946)
BY_TIFFFILE = (NONE, *BY_ZLIB, PACKBITS, 34925)  # compressions that it unpacks alone; the last is LZMA
BY_PILLOW = (7, 33003, 33005, 34712)  # JPEG, JPEG 2000: a picture in each strip
WHOLE_BITS = (1, 8, 16, 32, 64)  # that tifffile unpacks alone
DIFFERENCES, FLOAT_DIFFERENCES = 2, 3  # predictors: what is stored is the change from the sample to the left
# Says to the JPEG decoder that three components are red, green and blue, as they are, and no luminance and chroma.
ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"


def read_page(page: Any, where: object) -> np.ndarray:
    """Read the numbers of one page, in its own shape, without any interpretation of their meaning.

    Raises
    ------
    ImageError
        It needs imagecodecs, which is not installed, or lacks some of its data.
    """
    keyframe = page.keyframe
    if 0 in page.databytecounts:
        raise ImageError(f"{where}: incomplete: some of its strips or tiles hold no data.", "truncated")
    whole = keyframe.bitspersample in WHOLE_BITS
    alone = keyframe.compression in BY_TIFFFILE and whole and keyframe.predictor != FLOAT_DIFFERENCES
    if alone or _has_codecs():
        return page.asarray(squeeze=False, maxworkers=1).reshape(keyframe.shape)
    if keyframe.fillorder != 1 or keyframe.imagedepth != 1 or keyframe.is_subsampled:
        raise _needs_codecs(where, "stored in a rare way")
    return _placed(page, _decoder(keyframe, where)).reshape(keyframe.shape)


@cache
def _has_codecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _needs_codecs(where: object, how: str) -> ImageError:
    return ImageError(
        f"{where}: {how}, which the package imagecodecs reads: install it (pip install 'astroclf[tiff]'), or save the "
        "file with another compression.",
        "no decoder",
    )


def _decoder(page: Any, where: object) -> Callable[[bytes], np.ndarray]:
    """Choose how one strip or tile becomes rows of numbers."""
    if page.compression in BY_PILLOW and page.bitspersample == 8:
        return lambda packed: _by_pillow(packed, page)
    unpack: dict[int, Callable[[bytes], bytes]] = {NONE: bytes, LZW: unpack_lzw}
    unpack |= dict.fromkeys(BY_ZLIB, zlib.decompress)
    if page.compression in (PACKBITS, 34925):
        unpack[page.compression] = tifffile.TIFF.DECOMPRESSORS[page.compression]
    known = page.compression in unpack and page.predictor in (1, DIFFERENCES, FLOAT_DIFFERENCES)
    if not known or not isinstance(page.bitspersample, int):
        raise _needs_codecs(where, f"compressed by {_name_of(page.compression)}")
    if page.predictor != 1 and page.bitspersample not in WHOLE_BITS[1:]:
        raise _needs_codecs(where, "packed integers stored as differences")
    return lambda packed: _numbers(unpack[page.compression](packed), page)


def _name_of(compression: int) -> str:
    try:
        return str(tifffile.COMPRESSION(compression).name).replace("_", " ")
    except ValueError:
        return f"method {compression}"


def _placed(page: Any, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Decode each strip or tile and put it where it belongs: (separate samples, rows, columns, joint samples)."""
    keyframe = page.keyframe
    separate, _, length, width, joint = keyframe.shaped
    rows, columns = (keyframe.tilelength, keyframe.tilewidth) if keyframe.is_tiled else (keyframe.rowsperstrip, width)
    rows = min(rows, length) if not keyframe.is_tiled else rows
    down, across = -(-length // rows), -(-width // columns)
    image = np.zeros((separate, length, width, joint), keyframe.dtype)
    if len(page.dataoffsets) != separate * down * across:
        raise ValueError(f"{len(page.dataoffsets)} strips or tiles where {separate * down * across} belong")
    segments = page.parent.filehandle.read_segments(page.dataoffsets, page.databytecounts)
    for packed, index in segments:
        sample, rest = divmod(index, down * across)
        top, left = rest // across * rows, rest % across * columns
        target = image[sample, top : top + rows, left : left + columns]
        part = decode(packed).reshape(-1, columns, joint)
        if len(part) < len(target):
            raise ValueError(f"{len(part)} rows where {len(target)} belong")
        target[:] = part[: target.shape[0], : target.shape[1]]
    return image


def _numbers(raw: bytes, page: Any) -> np.ndarray:
    """Turn the unpacked bytes of a strip or tile into rows of numbers, flat."""
    joint, order = page.shaped[4], page.parent.byteorder
    across = (page.tilewidth if page.is_tiled else page.imagewidth) * joint
    if page.bitspersample not in WHOLE_BITS[1:]:
        return _packed_integers(raw, page.bitspersample, across).astype(page.dtype)
    row_bytes = across * page.dtype.itemsize
    whole = len(raw) // row_bytes * row_bytes
    if page.predictor == FLOAT_DIFFERENCES:
        # Adobe's technote 3: the bytes of a row, most significant of all first, as differences along the row.
        table = np.frombuffer(raw[:whole], np.uint8).reshape(-1, row_bytes // joint, joint)
        planes = np.cumsum(table, axis=1, dtype=np.uint8).reshape(-1, page.dtype.itemsize, across)
        return np.ascontiguousarray(planes.transpose(0, 2, 1)).view(page.dtype.newbyteorder(">")).ravel()
    numbers = np.frombuffer(raw[:whole], page.dtype.newbyteorder(order)).astype(page.dtype)
    if page.predictor == DIFFERENCES:
        unsigned = numbers.view(f"u{page.dtype.itemsize}").reshape(-1, across // joint, joint)
        return np.cumsum(unsigned, axis=1, dtype=unsigned.dtype).view(page.dtype).ravel()
    return numbers


def _packed_integers(raw: bytes, bits: int, across: int) -> np.ndarray:
    """Unpack integers of any number of bits up to 32, rows beginning at whole bytes: flat, uint32."""
    row_bytes = -(-across * bits // 8)
    rows = len(raw) // row_bytes
    flags = np.unpackbits(np.frombuffer(raw[: rows * row_bytes], np.uint8).reshape(rows, row_bytes), axis=1)
    numbers: np.ndarray = np.zeros((rows, across), np.uint32)
    for bit in range(bits):
        numbers = numbers << 1 | flags[:, bit : across * bits : bits]
    return numbers.ravel()


def _by_pillow(packed: bytes, page: Any) -> np.ndarray:
    """Decode a strip that is a JPEG or JPEG 2000 picture."""
    if page.compression == BY_PILLOW[0]:
        tables = page.jpegtables
        start = tables[:-2] if tables else packed[:2]  # without its end mark; the picture comes without its start mark
        packed = start + (ADOBE_RGB if page.photometric == RGB else b"") + packed[2:]
    with Image.open(io.BytesIO(packed)) as picture:
        picture.load()
        return np.asarray(picture)
