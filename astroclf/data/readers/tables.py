"""The table ``metadata.csv``: which files a data set has, what they show, and what is known about them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from astroclf.data.catalog import SPLIT_SPELLINGS
from astroclf.data.readers.band_files import BandFiles
from astroclf.errors import DataError
from astroclf.util.tables import read_table
from astroclf.util.text import did_you_mean

METADATA_COLUMNS = ("path", "label", "split", "group", "ra", "dec")


@dataclass
class Listing:
    """The samples of a folder as it names them: one entry a sample in every list that is not empty."""

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)  # what to call the sample in an error: file and line
    split: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    ra_deg: list[float] = field(default_factory=list)
    dec_deg: list[float] = field(default_factory=list)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the optional columns that say anything, as arrays for a `Catalog`."""
        texts = {"split": self.split, "group": self.group}
        columns = {name: np.array(values) for name, values in texts.items() if any(values)}
        if not all(math.isnan(value) for value in self.ra_deg):
            columns |= {"ra_deg": np.array(self.ra_deg), "dec_deg": np.array(self.dec_deg)}
        return columns


def read_metadata(path: Path, bands: BandFiles | None = None, faults: list[str] | None = None) -> Listing:
    """Read a metadata.csv with the columns path and label, and optionally split, group, ra, dec (degrees, ICRS).

    Paths are relative to the file's folder and may not leave it. Where a sample's bands are files of their own, the
    path is what they share, or that of any one of them.

    Parameters
    ----------
    path
        The table.
    bands
        The name patterns of samples whose bands are files of their own.
    faults
        A list for what is wrong with rows: these are then left out, where else the first raises.

    Raises
    ------
    DataError
        Not a table, a column missing, or a row that cannot be right: its line is named.
    """
    listing = Listing()
    lines: dict[str, int] = {}
    for values, line in read_table(path, partial(_check_header, path)):
        try:
            _add_row(listing, lines, values, path, line, bands)
        except DataError as error:
            if faults is None:
                raise
            faults.append(str(error))
    if not listing.ids:
        raise DataError(f"{path} lists no images: it has a header and nothing below.")
    return listing


def _check_header(path: Path, names: list[str]) -> None:
    for column in ("path", "label"):
        if column not in names:
            raise DataError(
                f"{path} has no column `{column}`; its first line must name the columns path and label, and "
                f"optionally split, group, ra, dec. It names {', '.join(names) or 'nothing'}."
            )
    repeated = [name for name in METADATA_COLUMNS if names.count(name) > 1]
    if repeated:
        raise DataError(f"{path} has the column `{repeated[0]}` twice.")


def _add_row(
    listing: Listing,
    lines: dict[str, int],
    values: dict[str, str],
    path: Path,
    line: int,
    bands: BandFiles | None,
) -> None:
    where = f"{path}, line {line}"
    if None in values:  # csv puts surplus cells under the key None
        raise DataError(f"{where}: more cells than the header has columns (a comma in a name needs quotes).")
    if None in values.values():  # an empty cell keeps its comma: a line without was cut, or two lines became one
        raise DataError(f"{where}: fewer cells than the header has columns (an empty cell keeps its comma).")
    cell = {name: values.get(name, "").strip() for name in METADATA_COLUMNS}
    if odd := [text for text in cell.values() if re.search(r"[\x00-\x1f\x7f]", text)]:
        raise DataError(f"{where}: {odd[0]!r} holds a control character: the file is damaged.")
    for name in ("path", "label"):
        if not cell[name]:
            raise DataError(f"{where}: the {name} is empty.")
    identifier = _inside(cell["path"], where)
    if bands is not None:
        identifier = bands.sample_of(identifier) or identifier
    if identifier in lines:
        raise DataError(f"{where}: `{identifier}` is listed already in line {lines[identifier]}.")
    if cell["split"].lower() not in SPLIT_SPELLINGS:
        hint = did_you_mean(cell["split"], SPLIT_SPELLINGS)
        raise DataError(
            f"{where}: the split `{cell['split']}` is none of train, val, test{hint} Leave it empty to have it chosen."
        )
    lines[identifier] = line
    listing.ids.append(identifier)
    listing.labels.append(cell["label"])
    listing.where.append(where)
    listing.split.append(SPLIT_SPELLINGS[cell["split"].lower()])
    listing.group.append(cell["group"])
    listing.ra_deg.append(_degrees(cell["ra"], "ra", -360, 360, where))
    listing.dec_deg.append(_degrees(cell["dec"], "dec", -90, 90, where))


def _inside(text: str, where: str) -> str:
    """Return the path as a relative POSIX path; refuse one that points out of the folder."""
    written = PurePosixPath(text.replace("\\", "/"))
    parts = [part for part in written.parts if part != "."]
    if written.is_absolute() or PureWindowsPath(text).drive or ".." in parts or "\0" in text or not parts:
        raise DataError(f"{where}: the path `{text}` leaves the data set's folder; paths are relative to that folder.")
    return "/".join(parts)


def _degrees(text: str, name: str, low: float, high: float, where: str) -> float:
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isnan(value):
        return value
    if not low <= value <= high:
        raise DataError(f"{where}: {name}=`{text}` is not an angle in decimal degrees from {low} to {high}.")
    return value
