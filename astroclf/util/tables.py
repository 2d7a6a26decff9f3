"""Tables of comma-separated values that people write by hand: read strictly, with errors that name the file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

from astroclf.errors import DataError


def read_table(
    path: Path, check_header: Callable[[list[str]], None], called: str = ""
) -> Iterator[tuple[dict[str, str], int]]:
    """Read the rows of a table in UTF-8, by column names in lower case, each with the number of its line.

    As in `csv.DictReader`, surplus cells are under the key None, and cells that a row lacks are None.

    Parameters
    ----------
    check_header
        Gets the column names; raises where they will not do.
    called
        What to call the file where it cannot be read, such as the key that names it; its path if empty.

    Raises
    ------
    DataError
        The file cannot be read, or is no such table.
    """
    try:
        with path.expanduser().open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            check_header(list(reader.fieldnames))
            for values in reader:
                yield values, reader.line_num
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a table of comma-separated values in UTF-8 ({error}).") from error
    except OSError as error:
        raise DataError(f"{called or path} cannot be read: {error.strerror or error}.") from error
