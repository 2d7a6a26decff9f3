"""Small files of every format that data sets come in, ways to damage them, and what reading one ends in.

Run as a program, it reads many damaged copies of one format, so that a decoder that crashes or hangs ends this process
and not the test suite; the last line it printed names the copy:

    python -m tests.data.decode.damage FOLDER FORMAT SEED FLIPS
"""

from __future__ import annotations

import bz2
import faulthandler
import gzip
import io
import logging
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.errors import DataError

SIDE = 32  # of what is read
SECONDS = 20  # after which a file counts as hanging


@dataclass(frozen=True)
class Format:
    """A kind of file, and how a data set holds it.

    Attributes
    ----------
    name
        Path below the data set's folder.
    make
        The bytes of a sound file.
    covered_from
        From this byte on, checksums in the file let every change of a pixel be noticed; None: there are none.
    reader
        Opens the data set in a folder.
    companions
        Files that belong to it.
    """

    name: str
    make: Callable[[], bytes]
    covered_from: int | None = None
    reader: Callable[[Path], ClassFolder | Galaxy10] = lambda folder: ClassFolder(folder, "found", SIDE)
    companions: tuple[tuple[str, Callable[[], bytes]], ...] = ()


def read(format: Format, folder: Path, content: bytes) -> np.ndarray | str:
    """Put a file in its place and read the data set: the images, or the error's message.

    Anything else fails: another exception, images of another shape or type, a message that is no single paragraph or
    does not name the file.
    """
    for name, make in format.companions:
        if not (folder / name).exists():
            _write(folder / name, make())
    _write(folder / format.name, content)
    try:
        reader = format.reader(folder)
        blocks = [reader.read(rows) for rows in reader.blocks()]
    except DataError as error:
        return _paragraph(str(error), folder)
    faults = [fault for block in blocks for fault in block.faults.values()]
    if faults:
        return _paragraph(faults[0].message, folder)
    images = np.concatenate([block.images_BHWC for block in blocks])
    assert images.dtype == np.uint8
    assert images.shape == (len(reader.catalog), SIDE, SIDE, 3)
    return images


def _paragraph(message: str, folder: Path) -> str:
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < len(str(folder)) + 600
    return message


def judge(format: Format, sound: np.ndarray, read: np.ndarray | str, place: int) -> str:
    """``error``, ``same`` or ``different``; the last fails where the damaged byte is covered by a checksum."""
    if isinstance(read, str):
        return "error"
    if np.array_equal(read, sound):
        return "same"
    assert format.covered_from is None or place < format.covered_from, f"other pixels, by a change of byte {place}"
    return "different"


def cuts(content: bytes, at_most: int) -> list[int]:
    """Lengths to cut a file to: every kilobyte of a long file, about every 64 bytes of a short one; and its last."""
    step = max(1, 1024 if len(content) > 64 * 1024 else 64, len(content) // at_most)
    return [*range(0, len(content), step), len(content) - 1]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def flipped(content: bytes, *bits: int) -> bytes:
    """The content with these bits turned over, counted from its start and round again."""
    damaged = bytearray(content)
    for bit in bits:
        place, number = divmod(bit % (8 * len(content)), 8)
        damaged[place] ^= 1 << number
    return bytes(damaged)


# ---- sound files ----------------------------------------------------------------------------------------------------


def scene(height: int = 40, width: int = 56) -> np.ndarray:
    """A star over noise, (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    star = 180 * np.exp(-((x - width / 2) ** 2 + (y - height / 3) ** 2) / 60)
    noise = np.random.default_rng(0).normal(30, 8, (height, width, 3))
    return np.clip(noise + star[..., None], 0, 255).astype(np.uint8)


def picture(kind: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    def make() -> bytes:
        if mode == "I;16":
            image = Image.fromarray(scene()[..., 0].astype(np.uint16) * 257)
        else:
            image = Image.fromarray(scene()).convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return make


def tiff(samples: int, kind: type[np.number], pages: int = 1, **options: object) -> Callable[[], bytes]:
    """A TIFF file as tifffile writes it; planar where there are several samples and `planarconfig` says so."""

    def make() -> bytes:
        image = scene().astype(kind) * kind(1 if kind is np.float32 else 257)
        planes = np.moveaxis(image, 2, 0)[:pages] if pages > 1 else image if samples == 3 else image[..., 0]
        planes = np.moveaxis(image, 2, 0) if "planarconfig" in options else planes
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, planes, photometric="rgb" if samples == 3 else "minisblack", **options)
        return buffer.getvalue()

    return make


def fits_file(
    *, compressed: bool = False, checksum: bool = False, pack: Callable[[bytes], bytes] = bytes
) -> Callable[[], bytes]:
    def make() -> bytes:
        counts = scene()[..., 0].astype(np.int16) * 20
        hdus = [fits.PrimaryHDU(), fits.CompImageHDU(counts)] if compressed else [fits.PrimaryHDU(counts)]
        buffer = io.BytesIO()
        fits.HDUList(hdus).writeto(buffer, checksum=checksum)
        return pack(buffer.getvalue())

    return make


def _galaxies() -> tuple[np.ndarray, np.ndarray]:
    images = np.stack([np.roll(scene(36, 36), row, axis=1) for row in range(30)])
    return images, (np.arange(30) // 3).astype(np.uint8)


def hdf5_file(**layout: object) -> Callable[[], bytes]:
    """The official layout, on a small scale: gzip, and chunks that stick out at the end of every axis."""

    def make() -> bytes:
        images, labels = _galaxies()
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.create_dataset("images", data=images, **layout)
            file["ans"] = labels
            for name in ("ra", "dec", "redshift", "pxscale"):
                file[name] = np.linspace(0, 1, len(labels))
        return buffer.getvalue()

    return make


def npy_file(array: Callable[[], np.ndarray]) -> Callable[[], bytes]:
    def make() -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array())
        return buffer.getvalue()

    return make


def metadata() -> bytes:
    rows = [f"sky/{row}.png,{('galaxy', 'star')[row % 2]},train,g{row // 4},{row}.5,-{row}.25" for row in range(12)]
    return "\n".join(["path,label,split,group,ra,dec", *rows, ""]).encode()


PNG = picture("PNG")
PICTURES = tuple((f"sky/{row}.png", PNG) for row in range(12))
FORMATS = {
    "jpeg": Format("sky/a.jpg", picture("JPEG", quality=90)),
    "jpeg-grey": Format("sky/a.jpg", picture("JPEG", "L")),
    "jpeg-progressive": Format("sky/a.jpg", picture("JPEG", progressive=True)),
    "jpeg-cmyk": Format("sky/a.jpg", picture("JPEG", "CMYK")),
    "png": Format("sky/a.png", PNG, covered_from=0),
    "png-16-bit": Format("sky/a.png", picture("PNG", "I;16"), covered_from=0),
    "png-palette": Format("sky/a.png", picture("PNG", "P", transparency=3), covered_from=0),
    "tiff": Format("sky/a.tif", picture("TIFF")),
    "tiff-lzw": Format("sky/a.tif", picture("TIFF", compression="tiff_lzw")),
    "tiff-deflate": Format("sky/a.tif", picture("TIFF", compression="tiff_adobe_deflate")),
    "tiff-16-bit": Format("sky/a.tif", picture("TIFF", "I;16")),
    "tiff-planar-floats": Format("sky/a.tif", tiff(3, np.float32, planarconfig="separate")),
    "tiff-deflate-16-bit": Format("sky/a.tif", tiff(3, np.uint16, compression="zlib", bigtiff=True, rowsperstrip=7)),
    "tiff-tiles": Format("sky/a.tif", tiff(1, np.float32, compression="zlib", tile=(16, 16))),
    "tiff-pages": Format("sky/a.tif", tiff(1, np.uint16, pages=3)),
    "tiff-jpeg": Format("sky/a.tif", picture("TIFF", compression="jpeg")),
    "avif": Format("sky/a.avif", picture("AVIF", quality=90)),
    "jpeg-2000": Format("sky/a.jp2", picture("JPEG2000")),
    "netpbm": Format("sky/a.pgm", picture("PPM", "L")),
    "array": Format("sky/a.npy", npy_file(scene)),
    "webp": Format("sky/a.webp", picture("WEBP")),
    "webp-lossless": Format("sky/a.webp", picture("WEBP", lossless=True)),
    "gif": Format("sky/a.gif", picture("GIF", "P")),
    "bmp": Format("sky/a.bmp", picture("BMP")),
    "fits": Format("sky/a.fits", fits_file()),
    "fits-checksum": Format("sky/a.fits", fits_file(checksum=True), covered_from=2880),
    "fits-rice": Format("sky/a.fits.fz", fits_file(compressed=True)),
    "fits-rice-checksum": Format("sky/a.fits.fz", fits_file(compressed=True, checksum=True), covered_from=5760),
    "fits-gzip": Format("sky/a.fits.gz", fits_file(pack=gzip.compress), covered_from=0),
    "fits-bzip2": Format("sky/a.fits.bz2", fits_file(pack=bz2.compress), covered_from=0),
    "hdf5": Format(
        "g.h5",
        hdf5_file(chunks=(7, 16, 16, 1), compression="gzip"),
        covered_from=0,
        reader=lambda folder: Galaxy10(folder / "g.h5", SIDE),
    ),
    "hdf5-fletcher": Format(
        "g.h5",
        hdf5_file(chunks=(7, 16, 16, 1), fletcher32=True),
        covered_from=0,
        reader=lambda folder: Galaxy10(folder / "g.h5", SIDE),
    ),
    "hdf5-plain": Format("g.h5", hdf5_file(), reader=lambda folder: Galaxy10(folder / "g.h5", SIDE)),
    "npy": Format(
        "images.npy",
        npy_file(lambda: _galaxies()[0]),
        reader=lambda folder: Galaxy10(folder, SIDE),
        companions=(("labels.npy", npy_file(lambda: _galaxies()[1])),),
    ),
    "npy-labels": Format(
        "labels.npy",
        npy_file(lambda: _galaxies()[1]),
        reader=lambda folder: Galaxy10(folder, SIDE),
        companions=(("images.npy", npy_file(lambda: _galaxies()[0])),),
    ),
    "metadata": Format("metadata.csv", metadata, companions=PICTURES),
    "metadata-classes": Format(
        "metadata.csv",
        metadata,
        reader=lambda folder: ClassFolder(folder, ["galaxy", "star"], SIDE),
        companions=PICTURES,
    ),
}


def main() -> None:
    """Every cut, and so many single bits; a line for each before it is read."""
    folder, name, seed, flips = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logging.disable()
    warnings.simplefilter("ignore")
    format = FORMATS[name]
    content = format.make()
    sound = read(format, folder, content)
    assert isinstance(sound, np.ndarray), sound
    cases = [("cut to", length, content[:length]) for length in cuts(content, at_most=400)]
    bits = np.random.default_rng(seed).integers(0, 8 * len(content), flips).tolist()
    cases += [("bit", bit, flipped(content, bit)) for bit in bits]
    for kind, place, damaged in cases:
        print(kind, place, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        outcome = read(format, folder, damaged)
        faulthandler.cancel_dump_traceback_later()
        if kind == "bit":
            judge(format, sound, outcome, place // 8)


if __name__ == "__main__":
    main()
