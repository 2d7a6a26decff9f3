"""Checksums that files carry and their decoders do not look at: a damaged file is an error, not another picture."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
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
IN_MEMORY = 2**25  # bytes up to which a file is unpacked in memory
PIECE = 2**20  # bytes that are read at once of longer ones
OPEN_COMPRESSED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open}


def check_png(encoded: bytes, where: Path) -> None:
    """Verify the CRC of every chunk that changes pixels; other formats pass.

    Raises
    ------
    ImageError
        A chunk is damaged or not whole.
    """
    for kind, start, end in _png_chunks(encoded):
        if kind in PNG_CHUNKS and end > len(encoded):
            raise ImageError(f"{where}: damaged or truncated: it ends inside its {kind.decode()} chunk.", "truncated")
        crc = int.from_bytes(encoded[end - 4 : end])
        if kind in PNG_CHUNKS and zlib.crc32(memoryview(encoded)[start + 4 : end - 4]) != crc:
            raise ImageError(f"{where}: damaged: the checksum of its {kind.decode()} chunk is wrong.")


def is_wide_png(encoded: bytes) -> bool:
    """Tell if the bytes begin as those of a PNG file with 16 bits a color or with 16-bit transparency."""
    return encoded.startswith(PNG_MAGIC) and encoded[24:25] == b"\x10" and encoded[25:26] in (b"\2", b"\4", b"\6")


def pixel_chunks(encoded: bytes) -> bytes:
    """Return a PNG file without what does not change its pixels."""
    return PNG_MAGIC + b"".join(encoded[start:end] for kind, start, end in _png_chunks(encoded) if kind in PNG_CHUNKS)


def _png_chunks(encoded: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of each chunk up to the last one of the format; the end may lie behind the file's."""
    place, kind = len(PNG_MAGIC), b""
    while encoded.startswith(PNG_MAGIC) and kind != b"IEND" and place + 12 <= len(encoded):
        length, kind = int.from_bytes(encoded[place : place + 4]), encoded[place + 4 : place + 8]
        yield kind, place, place + 12 + length
        place += 12 + length


@contextmanager
def decompressed(path: Path, most: int) -> Iterator[Path | BinaryIO]:
    """Unpack a .gz or .bz2 file to its end, where the checksum is; give the path itself of any other.

    What is short is kept in memory, the rest in a temporary file.

    Raises
    ------
    ImageError
        More than `most` bytes come out, or the disk has no room for them.
    OSError, EOFError, zlib.error
        Damaged or truncated.
    """
    opened = OPEN_COMPRESSED.get(path.suffix.lower())
    if opened is None:
        yield path
        return
    with opened(path, "rb") as packed:
        content = packed.read(IN_MEMORY)
        if len(content) < IN_MEMORY:
            _check_most(len(content), most, path)
            yield io.BytesIO(content)
            return
        with NamedTemporaryFile(prefix="astroclf-", suffix=".fits") as file:
            size = 0
            while content:
                size += len(content)
                _check_most(size, most, path)
                _write(file, content, path)
                content = packed.read(PIECE)
            yield Path(file.name)


def _check_most(size: int, most: int, where: Path) -> None:
    if size > most:
        raise ImageError(
            f"{where}: more than {most:,} bytes when decompressed: cut what you need out first.", "too large"
        )


def _write(file: Any, content: bytes, where: Path) -> None:
    try:
        file.write(content)
        file.flush()
    except OSError as error:
        raise ImageError(
            f"{where}: cannot be unpacked to {file.name} ({error.strerror or error}): make room there, or name another "
            "folder with the environment variable TMPDIR.",
            "too large",
        ) from error


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
    if announced is None:
        return
    file.seek(place["datLoc"])
    total, left = 0, place["datSpan"]
    while left > 0:
        piece = file.read(min(PIECE, left))
        if not piece:
            return  # truncated, which reading finds
        total, left = ones_complement_sum(piece, total), left - len(piece)
    if int(announced) == total:
        return
    raise ImageError(
        f"{where}: the data do not match their DATASUM card: the file is damaged, or a program changed the data and "
        "not the card (astropy does so without checksum=True; `fitscheck --write --force` renews it). "
        "dataset.fits.checksum=false reads it as it is."
    )


def ones_complement_sum(data: bytes, total: int = 0) -> int:
    """Compute the 32-bit sum that FITS prescribes for DATASUM (standard 4.0, appendix J) of a multiple of 4 bytes.

    `total` is the sum of what comes before.
    """
    total += int(np.frombuffer(data, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
