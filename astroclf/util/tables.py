"""Tables that people keep beside their data: CSV, read strictly, and those that programs write, by astropy and pyarrow.

Every cell comes as text; one that is masked, null or NaN is empty.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from astroclf.errors import DataError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astropy import table as astropy_table
    from pyarrow import parquet
else:
    astropy_table = lazy_import("astropy.table")
    parquet = lazy_import("pyarrow.parquet")

TEXT_SUFFIXES = (".csv", ".tsv", ".tab")
ASTROPY_FORMATS = {
    ".ecsv": "ascii.ecsv",
    ".vot": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".fits": "fits",
    ".fit": "fits",
    ".fts": "fits",
}
PARQUET_SUFFIX = ".parquet"
DELIMITERS = ",\t;"
ROWS_AT_ONCE = 4096


def is_table(path: PurePath) -> bool:
    """Tell if a name is one of a table; a FITS or XML file may be one."""
    return path.suffix.lower() in (*TEXT_SUFFIXES, PARQUET_SUFFIX, *ASTROPY_FORMATS)


def row_name(path: Path, number: int) -> str:
    """Return what to call a row in errors, by the number that `read_table` gives: a line of a text file, else a row."""
    return f"{path}, {'line' if path.suffix.lower() in TEXT_SUFFIXES else 'row'} {number}"


def read_table(
    path: Path, check_header: Callable[[list[str]], None], called: str = "", *, fold_case: bool = True
) -> Iterator[tuple[dict[str, str], int]]:
    """Read the rows of a table by column names, each with the number of its line.

    Of text files, as in `csv.DictReader`, surplus cells are under the key None, and cells that a row lacks are None.
    They are in UTF-8, with commas, or with tabs or semicolons where the header has these and no comma.

    Parameters
    ----------
    check_header
        Gets the column names; raises where they will not do.
    called
        What to call the file where it cannot be read, such as the key that names it; its path if empty.
    fold_case
        Whether names are given in lower case, and not as they are written.

    Raises
    ------
    DataError
        The file cannot be read, or is no such table.
    """
    path = path.expanduser()

    def named(name: str) -> str:
        return name.strip().lower() if fold_case else name.strip()

    if not is_table(path) or path.suffix.lower() in TEXT_SUFFIXES:
        yield from _text_rows(path, named, check_header, called)
        return
    names, rows = _typed_rows(path, called)
    names = [named(name) for name in names]
    check_header(names)
    for number, cells in enumerate(rows, start=1):
        yield {name: cell_text(cell) for name, cell in zip(names, cells, strict=True)}, number


def _text_rows(
    path: Path, named: Callable[[str], str], check_header: Callable[[list[str]], None], called: str
) -> Iterator[tuple[dict[str, str], int]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True, delimiter=_delimiter(file, path))
            reader.fieldnames = [named(name) for name in reader.fieldnames or ()]
            check_header(list(reader.fieldnames))
            for values in reader:
                yield values, reader.line_num
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a table of comma-separated values in UTF-8 ({error}).") from error
    except OSError as error:
        raise DataError(f"{called or path} cannot be read: {error.strerror or error}.") from error


def _delimiter(file: io.TextIOWrapper, path: Path) -> str:
    """Find what stands between the cells of the first line, and go back to its beginning."""
    header = file.readline()
    file.seek(0)
    if path.suffix.lower() != ".csv" and "\t" in header:
        return "\t"
    return next((delimiter for delimiter in DELIMITERS if delimiter in header), ",")


def _typed_rows(path: Path, called: str) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Read the columns that hold one value a row, of a table that a program wrote; its rows are made as they are asked.

    A million rows of ten columns, as objects of Python, would take half a gigabyte.
    """
    if not path.is_file():
        raise DataError(f"{called or path} cannot be read: there is no such file.")
    format = ASTROPY_FORMATS.get(path.suffix.lower())
    try:
        if format is None:
            table = parquet.read_table(path)
            return list(table.column_names), _in_parts(table.columns, len(table), lambda part: part.to_pylist())
        with warnings.catch_warnings(action="ignore"):  # units and names that the standard does not know
            read = astropy_table.Table.read(path, format=format)
        names = [name for name in read.colnames if read[name].ndim == 1]
        return names, _in_parts([read[name] for name in names], len(read), lambda part: part.tolist())
    except ImportError as error:
        raise DataError(f"{path} cannot be read without the package {error.name}: install it.") from error
    except Exception as error:  # parsers of arbitrary bytes raise whatever they stumble over
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"{path} is not a table that can be read as {format or 'parquet'} ({text}).") from error


def _in_parts(columns: Sequence[Any], length: int, values: Callable[[Any], list[Any]]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, length, ROWS_AT_ONCE):
        yield from zip(*(values(column[start : start + ROWS_AT_ONCE]) for column in columns), strict=True)


def cell_text(cell: Any) -> str:
    """Write one value as the cell of a text table; one that is not known is empty."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
