"""Which table lists the images of a folder: the one that is named, ``metadata.csv``, or the only one that fits."""

from __future__ import annotations

from pathlib import Path

from astroclf.data.readers.accounts import SPLIT_TABLE, UNREAD_TABLE, first_names
from astroclf.data.readers.column_guess import Guess, guess_columns, header_of, list_columns
from astroclf.data.readers.names import SampleNames
from astroclf.data.readers.walk import Tree
from astroclf.errors import ConfigError, DataError
from astroclf.settings.columns import ColumnSettings
from astroclf.settings.fits import is_fits
from astroclf.util.logs import log
from astroclf.util.tables import is_table

METADATA_FILE = "metadata.csv"
AUTO, NONE = "auto", "none"  # of dataset.table
FITS_TABLES = 3  # more FITS files directly in the folder are images


def is_listing(file: str) -> bool:
    """Tell if a file's name says that it is a table; a FITS or XML file may be anything."""
    return is_table(Path(file)) and not is_fits(Path(file)) and not file.lower().endswith(".xml")


def find_table(root: Path, tree: Tree, table: str, columns: ColumnSettings, names: SampleNames) -> Path | None:
    """Find the table to read; None: the folders say the classes.

    Parameters
    ----------
    table
        ``dataset.table``.
    columns
        What its columns are called.
    names
        The samples that the folder holds.

    Raises
    ------
    DataError
        No such table, several that fit, or one that lists the images under columns of other names.
    """
    if table != AUTO:
        return _named(root, table)
    if (root / METADATA_FILE).is_file():
        return root / METADATA_FILE
    headers = {name: header for name in _candidates(tree) if (header := header_of(root / name))}
    usable = [name for name, header in headers.items() if not columns.missing_in(header)]
    if len(usable) > 1:
        raise DataError(
            f"{root} has {len(usable)} tables of images, {first_names(usable)}: say which to read with "
            "dataset.table=FILE, or dataset.table=none to take the folders as classes."
        )
    if usable:
        log.info("%s: the images and labels are those of the table %s.", root, usable[0])
        return root / usable[0]
    if columns.given():
        held = "; ".join(f"{name} has {list_columns(header)}" for name, header in headers.items()) or "there is none"
        raise DataError(
            f"dataset.columns names the columns {', '.join(columns.required())}, but no table in {root} has them: "
            f"{held}."
        )
    _refuse_unread(root, {name: guess_columns(root / name, names) for name in headers}, names)
    return None


def _named(root: Path, table: str) -> Path | None:
    if table == NONE:
        return None
    for path in (root / table, Path(table).expanduser(), root / Path(table).name):
        if path.is_file():
            if not is_table(path):
                raise ConfigError(
                    f"dataset.table={table} is no table that can be read: those are .csv, .tsv, .parquet, .ecsv, "
                    "VOTables (.vot, .xml) and FITS tables."
                )
            return path
    raise DataError(f"dataset.table={table}: there is no such file, neither in {root} nor at this path.")


def _candidates(tree: Tree) -> list[str]:
    """Name what may be a table directly in the folder."""
    beside = [file for file in tree.files if "/" not in file and is_table(Path(file))]
    fits = [file for file in beside if is_fits(Path(file))]
    return [file for file in beside if file not in fits or len(fits) <= FITS_TABLES]


def _refuse_unread(root: Path, guesses: dict[str, Guess], names: SampleNames) -> None:
    """Refuse to take folders for classes where a table says otherwise under columns of other names."""
    fitting = {
        name: guess
        for name, guess in guesses.items()
        if guess.path and guess.label and not guess.repeats_folders(names)
    }
    if fitting:
        name, guess = next(iter(fitting.items()))
        words = guess.words(name if len(fitting) > 1 else None)
        raise DataError(
            f"{root}: the table {first_names(list(fitting))} lists images, under columns of other names than path and "
            f"label. To read it, say {words}; to take the folders as classes, dataset.table=none."
        )


def unread_tables(tree: Tree, read: Path | None, root: Path) -> dict[str, str]:
    """Name the tables in the folder that are not read, wherever they lie, each with the reason."""
    tables = [file for file in tree.files if is_listing(file) and root / file != read]
    splits = {file for file in tables if "/" not in file and {"id", "split"} <= set(header_of(root / file))}
    return {file: SPLIT_TABLE if file in splits else UNREAD_TABLE for file in tables}
