"""Picture files in class-named folders, or listed in a table, as a data set."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.data.catalog import Block, Source
from astroclf.data.decode.headers import FileFacts, file_facts
from astroclf.data.decode.images import cut_out, read_bands, read_values
from astroclf.data.decode.limits import one_large_at_a_time
from astroclf.data.decode.original import Original, as_it_is, file_digest, original_of
from astroclf.data.decode.tone import PICTURE, Measured, Tone, decide_measured, measure
from astroclf.data.decode.values import Decoded, Values
from astroclf.data.readers.array_files import HDF5_SUFFIXES
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.blocks import ToneRules, check_size, decode_rows, reader_fingerprint
from astroclf.data.readers.classes import unique_names
from astroclf.data.readers.editions import choose_reader
from astroclf.data.readers.find_table import AUTO, METADATA_FILE
from astroclf.data.readers.listing import to_catalog
from astroclf.data.readers.samples import list_samples
from astroclf.data.readers.tables import TableRules
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.settings.columns import ColumnSettings
from astroclf.settings.dataset import Labels, OnError
from astroclf.settings.fits import is_fits
from astroclf.settings.reading import ReadSettings
from astroclf.util.tables import is_table
from astroclf.util.threads import run_ahead

BLOCK_BYTES = 32 * 2**20
BLOCK_ROWS = 32
TONE_SAMPLE = 200  # files of each suffix, spread evenly over them, by which it is decided how numbers become grey
TONE_BYTES = 2**29  # of these files, as far as TONE_LEAST of them are not more: they are read for this alone
TONE_LEAST = 8
PICTURE_CHANNELS = 3  # of a file of which nothing is chosen; one of grey is made of the same pictures
ALWAYS_UNSIGNED = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # 8 bits of these formats are grey values: no need to decode


class ClassFolder(ToneRules):
    """A folder of JPEG, PNG, WebP, TIFF and FITS files of any size and mode, as a `DatasetReader`.

    Every class is a subfolder (files may lie deeper in it), or one of each split's subfolders; or a table lists the
    files with the columns path, label and, if known, split, group, ra, dec. Sample ids are paths relative to it.
    With ``fits.files``, a sample is several FITS files, one a band, and its id is what their paths share: see
    `BandFiles`. What lies in the folder and is no sample is in `left_out`.

    Parameters
    ----------
    path
        The folder.
    classes
        Class names in label order, each of which must have files; or ``found``: whatever classes are there, sorted.
        A name that is typed in another case, or with other spaces, hyphens or underscores, is understood.
    image_size
        Side of the prepared images in pixels: the longest side is scaled to it, the rest padded with zeros.
    exclude_classes
        Leave these classes out; their folders may be there.
    channels
        3 (RGB), 1 (grey), or the number of bands of FITS files.
    reading
        How a file becomes a picture; None: as in ``conf/dataset``.
    table, columns, min_vote, on_unlabelled
        Which table is read, and how, as in ``conf/dataset/_folder.yaml``.
    labels
        ``required``; ``auto``: where nothing says the classes, all images of the folder are samples; ``none``: they are
        in any case, or those that a named table lists. Without labels, all are of one class.

    Raises
    ------
    DataError
        The folder is missing, classes are missing or unknown, or the table contradicts itself.
    """

    def __init__(
        self,
        path: str | Path | None,
        classes: Sequence[str] | str,
        image_size: int,
        *,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
        reading: ReadSettings | None = None,
        table: str = AUTO,
        columns: ColumnSettings | Mapping[str, Any] | None = None,
        min_vote: float = 0.0,
        on_unlabelled: OnError = "raise",
        labels: Labels = "required",
    ) -> None:
        super().__init__()
        check_size(image_size, channels)
        self.image_size, self.channels = image_size, channels
        self.reading = reading or ReadSettings.with_defaults()
        self.reading.check_channels(channels)
        self.bands = BandFiles(self.reading.fits.files) if self.reading.fits.files else None
        # Some of what a file holds is chosen: HDUs, planes, or as many bands as no picture has.
        self._chooses = as_it_is(self.reading) != replace(self.reading, crop=None) or (
            self.bands is None and channels not in (1, PICTURE_CHANNELS)
        )
        if path is None:
            raise DataError(
                "dataset.path is not set: give the folder that holds the class folders or the images and their table."
            )
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise DataError(f"dataset.path={path}{_no_folder(self.path)}.")
        if isinstance(classes, str) and classes != "found":
            raise ConfigError(f"dataset.classes={classes}: give a list of names, or `found` for the classes present.")
        wanted = None if isinstance(classes, str) else unique_names(classes, "dataset.classes")
        unique_names(exclude_classes, "dataset.exclude_classes")
        named = columns if isinstance(columns, ColumnSettings) else ColumnSettings.with_defaults(**(columns or {}))
        rules = TableRules(named, min_vote, on_unlabelled == "skip", wanted)
        listing = list_samples(self.path, table, rules, self.bands, labels)
        self.catalog, unwanted = to_catalog(self.path, listing, wanted, exclude_classes)
        self.left_out = (*listing.left_out, *unwanted)

    def fingerprint(self) -> str:
        """Return a hex digest of every file's name, size and time, and of what changes a pixel or a label."""
        files = (file for row in range(len(self.catalog)) for file in self._files(row))
        return reader_fingerprint("folder", self, *map(_identity, files), *self._given_tones, reading=self.reading)

    def blocks(self) -> list[range]:
        """Divide the rows into blocks of a few dozen files: they keep a thread busy, and fit into memory."""
        image_bytes = self.image_size**2 * self.channels
        rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // image_bytes))
        return [range(start, min(start + rows, len(self.catalog))) for start in range(0, len(self.catalog), rows)]

    def read(self, rows: range) -> Block:
        """Decode one block; a file without a usable image is one of its faults."""
        return decode_rows(rows, self._decode, self._where, self.image_size, self.channels)

    def facts(self, row: int) -> FileFacts | None:
        """Return what the header of a sample's (first) file says."""
        return file_facts(self._files(row)[0], self.reading.fits)

    def source(self, row: int) -> Source:
        """Return the file of a sample, or its files."""
        return Source(tuple(self._files(row)))

    def _decided(self, num_workers: int) -> Mapping[str, Tone]:
        with (
            warnings.catch_warnings(action="ignore"),  # decoders' remarks about single files
            closing(run_ahead(self._measured, self._tone_rows(), num_workers)) as sample,
        ):
            return decide_measured(sample, self.reading.tone)

    def _tone_rows(self) -> list[int]:
        """Choose rows of every suffix, so that a few FITS files among many pictures are not missed."""
        of_suffix: dict[str, list[int]] = {}
        for row in range(len(self.catalog)):
            of_suffix.setdefault(self._files(row)[0].suffix.lower(), []).append(row)
        chosen: list[int] = []
        for rows in of_suffix.values():
            some = _spread(rows, TONE_SAMPLE)
            size = sum(_size(file) for row in some for file in self._files(row))
            chosen += _spread(some, max(TONE_LEAST, len(some) * TONE_BYTES // max(size, TONE_BYTES)))
        return sorted(chosen)

    def _measured(self, row: int) -> Measured | None:
        """Read and measure the numbers of a row, unless its header says that they are grey already."""
        facts = None if is_fits(self._files(row)[0]) else self.facts(row)
        if facts is not None and facts.bits <= 8 and facts.format in ALWAYS_UNSIGNED:
            return PICTURE
        try:
            with one_large_at_a_time():
                return measure(cut_out(self._read(row, self.reading, self.channels), self.reading, self._where(row)))
        except ImageError:  # its own turn comes
            return None

    def _read(self, row: int, reading: ReadSettings, channels: int) -> Values:
        files = self._files(row)
        if self.bands is None:
            return read_values(files[0], reading, channels)
        return read_bands(files, self._where(row), reading, self.channels)

    def _where(self, row: int) -> str:
        path = self.path / str(self.catalog.ids[row])
        return str(path) if self.bands is None else f"{path} ({', '.join(self.bands.patterns)})"

    def _decode(self, row: int) -> tuple[Decoded, Original]:
        with one_large_at_a_time():
            values, original = self._with_original(row)
            cutout = cut_out(values, self.reading, self._where(row))
            return self._picture(cutout, self._where(row)), original

    def _with_original(self, row: int) -> tuple[Values, Original]:
        """Read the numbers of a row, and what it is whichever of the numbers in its files are chosen."""
        original = None
        if self._chooses:
            with suppress(ImageError):  # nothing but the choice says which of its parts are the image
                whole = self._read(row, as_it_is(self.reading), PICTURE_CHANNELS)
                original = original_of(whole, file_digest(self._files(row)))
                del whole
        values = self._read(row, self.reading, self.channels)
        return values, original or original_of(values, file_digest(self._files(row)))

    def _files(self, row: int) -> list[Path]:
        name = str(self.catalog.ids[row])
        return [self.path / file for file in (self.bands.files(name) if self.bands else [name])]


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """Take at most so many of the rows, evenly from the first to the last."""
    return [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, most).astype(int)).tolist()]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # missing: its own turn comes
        return 0


def _no_folder(path: Path) -> str:
    """Say what is wrong with a path that is no folder, and what to give instead."""
    if not path.exists():
        return ": there is no such folder"
    if is_table(path) and not is_fits(path):
        also = "" if path.name == METADATA_FILE else f" dataset.table={path.name}"
        return f" is the table itself: give the folder that it lies in, dataset.path={path.parent}{also}"
    if path.suffix.lower() in HDF5_SUFFIXES:
        return f" is an HDF5 file, and no folder of images: dataset={choose_reader(path)} reads it"
    return " is a file: give the folder that holds the class folders, or the images and their table"


def _identity(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:
        return b"missing"
    if not os.access(path, os.R_OK):  # once it may be read, its size and time are what they were
        return b"unreadable"
    return f"{status.st_size}|{status.st_mtime_ns}".encode()
