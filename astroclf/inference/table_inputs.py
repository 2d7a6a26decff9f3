"""A table that names images, as samples: one a row, with all its columns carried along."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.column_guess import ROWS_LOOKED_AT, guess_columns, list_columns
from astroclf.errors import ConfigError, DataError
from astroclf.inference.samples import Sample, identity
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log
from astroclf.util.tables import read_table, row_name
from astroclf.util.text import nearest

if TYPE_CHECKING:
    from astropy.io import fits
else:
    fits = lazy_import("astropy.io.fits")

PATH_COLUMN = "path"


class TableOfImages:
    """The rows of a table, CSV, Parquet, VOTable or FITS, one column of which names an image.

    Relative paths are of the table's folder, or of the working folder if more of the first rows are found there.

    Parameters
    ----------
    column
        That column; None: ``path``, or else the one whose cells are files.

    Raises
    ------
    DataError
        The table cannot be read, or no column names images.
    ConfigError
        There is no such column.
    """

    def __init__(self, path: Path, bands: BandFiles | None, column: str | None) -> None:
        self.path, self.bands = path, bands
        self._names = _Found(path, bands)
        header: list[str] = []
        first = [row for row, _ in islice(read_table(path, header.extend, fold_case=False), ROWS_LOOKED_AT)]
        if repeated := [name for name in header if header.count(name) > 1]:
            raise DataError(f"{path} has the column `{repeated[0]}` twice.")
        self.column = self._choose(header, column)
        self.columns = tuple(name for name in header if name != PATH_COLUMN or name != self.column)
        self._names.choose_base([(row.get(self.column) or "").strip() for row in first])
        self.identity = identity(path)

    def samples(self, left_out: object) -> Iterator[Sample]:
        """Yield a sample for each row."""
        for row, number in read_table(self.path, lambda header: None, fold_case=False):
            where = row_name(self.path, number)
            if None in row or None in row.values():
                wrong = "more" if None in row else "fewer"
                raise DataError(f"{where}: {wrong} cells than the header has columns: the table is damaged.")
            text = row[self.column].strip()
            carried = {name: row[name] for name in self.columns}
            if text:
                yield Sample(text, self._names.files(text), carried=carried)
            else:
                yield Sample(text, carried=carried, fault=f"{where}: the column {self.column} is empty.")

    def _choose(self, header: list[str], column: str | None) -> str:
        written = {name.lower(): name for name in reversed(header)}
        if column is not None:
            if column.strip().lower() not in written:
                raise ConfigError(f"column={column}: {self.path} has no such column. {nearest(column, header)}")
            return written[column.strip().lower()]
        if PATH_COLUMN in written:
            return written[PATH_COLUMN]
        guessed = guess_columns(self.path, self._names).path
        if guessed is None:
            raise DataError(
                f"{self.path} has no column `{PATH_COLUMN}`, and none whose cells are files: it has "
                f"{list_columns(header)}. Say which of them names the images: column=NAME."
            )
        log.info("%s: its column `%s` names the images.", self.path, written[guessed])
        return written[guessed]


class _Found:
    """Which files the cells of a table mean."""

    def __init__(self, table: Path, bands: BandFiles | None) -> None:
        self._bands = bands
        self._bases = (table.parent, Path())
        self._base = table.parent

    def files(self, text: str, base: Path | None = None) -> tuple[str, ...]:
        """Return the files of a cell: its own, or one for each band."""
        names = [text] if self._bands is None else self._bands.files(self._bands.sample_of(text) or text)
        return tuple(os.path.join(base or self._base, os.path.expanduser(name)) for name in names)

    def has(self, text: str) -> bool:
        """Tell if a cell means a file that is there."""
        return any(self._is_there(text, base) for base in self._bases)

    def choose_base(self, cells: list[str]) -> None:
        """Decide for the whole table which folder its paths are relative to, by the first of its cells."""
        found = [sum(bool(cell) and self._is_there(cell, base) for cell in cells) for base in self._bases]
        self._base = self._bases[found.index(max(found))]

    def _is_there(self, text: str, base: Path) -> bool:
        try:
            return os.path.isfile(self.files(text, base)[0])
        except ValueError:  # a cell may hold anything
            return False


def is_fits_table(path: Path) -> bool:
    """Tell if a FITS file holds a table and no image."""
    try:
        with fits.open(path, lazy_load_hdus=True) as hdus:
            tables = False
            for hdu in hdus:
                if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2:
                    return False
                tables |= isinstance(hdu, (fits.BinTableHDU, fits.TableHDU))
            return tables
    except Exception:  # it is no FITS file at all, which its own turn tells
        return False
