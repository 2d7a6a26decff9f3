"""Checksums that files carry and their decoders do not look at: a damaged file is an error, not another picture."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from astroclf.errors import ImageError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy.io import fits
else:
    fits = lazy_import("astropy.io.fits")  # takes a second to import: only where a FITS file is met

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Chunks that change pixels; a wrong text or time says nothing against them.
PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
OPEN_COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}


def check_png(encoded: bytes, where: Path) -> None:
    """Verify the CRC of every chunk that changes pixels; other formats pass.

    Raises
    ------
    ImageError
        A chunk is damaged or not whole.
    """
    if not encoded.startswith(PNG_MAGIC):
        return
    place, kind = len(PNG_MAGIC), b""
    while kind != b"IEND" and place + 12 <= len(encoded):
        length, kind = int.from_bytes(encoded[place : place + 4]), encoded[place + 4 : place + 8]
        end = place + 8 + length
        crc = int.from_bytes(encoded[end : end + 4])
        if kind in PNG_CHUNKS and end + 4 > len(encoded):
            raise ImageError(f"{where}: damaged or truncated: it ends inside its {kind.decode()} chunk.", "truncated")
        if kind in PNG_CHUNKS and zlib.crc32(memoryview(encoded)[place + 4 : end]) != crc:
            raise ImageError(f"{where}: damaged: the checksum of its {kind.decode()} chunk is wrong.")
        place = end + 4


def decompressed(path: Path, most: int) -> Path | BinaryIO:
    """Read a .gz or .bz2 file to its end, where the checksum is; return the path itself of any other.

    Raises
    ------
    ImageError
        More than `most` bytes come out.
    OSError, EOFError, zlib.error
        Damaged or truncated.
    """
    opened = OPEN_COMPRESSED.get(path.suffix.lower())
    if opened is None:
        return path
    with opened(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ImageError(
            f"{path}: more than {most:,} bytes when decompressed: cut what you need out first.", "too large"
        )
    return io.BytesIO(content)


def check_datasum(hdu: Any, where: Path) -> None:
    """Compare the data of an astropy HDU with its DATASUM card, if it has one, before they are read.

    The header's CHECKSUM is left alone: many programs add cards without renewing it.

    Raises
    ------
    ImageError
        They differ.
    """
    place = hdu.fileinfo()  # of the table, where astropy shows a compressed image with another header
    file = place["file"]
    file.seek(place["hdrLoc"])
    announced = fits.Header.fromstring(file.read(place["datLoc"] - place["hdrLoc"])).get("DATASUM")
    file.seek(place["datLoc"])
    if announced is None or int(announced) == ones_complement_sum(file.read(place["datSpan"])):
        return
    raise ImageError(
        f"{where}: the data do not match their DATASUM card: the file is damaged, or a program changed the data and "
        "not the card (astropy does so without checksum=True; `fitscheck --write --force` renews it). "
        "dataset.fits.checksum=false reads it as it is."
    )


def ones_complement_sum(data: bytes) -> int:
    """Compute the 32-bit sum that FITS prescribes for DATASUM (standard 4.0, appendix J) of a multiple of 4 bytes."""
    total = int(np.frombuffer(data, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
