"""A file that says which sample is in which split."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from astroclf.data.catalog import SPLIT_SPELLINGS, Catalog
from astroclf.errors import DataError
from astroclf.util.tables import read_table


def read_split_file(path: Path, catalog: Catalog, unreadable: Collection[str] = ()) -> np.ndarray:
    """(N,) str: the split of each sample of the catalog; empty where the file leaves it to us.

    Parameters
    ----------
    unreadable
        Ids that the catalog lacks because their images cannot be read; the file may name them.

    Raises
    ------
    DataError
        No table with the columns id and split, an id that the data set has not, one that is listed twice, or a split
        of another name.
    """
    called = f"dataset.split_file={path}"

    def check_header(names: list[str]) -> None:
        if not {"id", "split"} <= set(names):
            named = ", ".join(names) or "nothing"
            raise DataError(f"{called} must have the columns id and split; it has {named}.")

    splits = np.full(len(catalog), "", dtype="<U5")
    row_of = {str(name): row for row, name in enumerate(catalog.ids)}
    seen: dict[str, int] = {}
    for cells, line in read_table(path, check_header, called):
        name, split = (cells["id"] or "").strip(), (cells["split"] or "").strip().lower()
        where = f"{path}, line {line}"
        if name not in row_of and name not in unreadable:
            raise DataError(
                f"{where}: the data set has no sample `{name}`; ids are as in predictions.csv, such as "
                f"`{catalog.ids[0]}`."
            )
        if name in seen:
            raise DataError(f"{where}: `{name}` is listed already in line {seen[name]}.")
        if split not in SPLIT_SPELLINGS:
            raise DataError(f"{where}: the split `{split}` is none of train, val, test.")
        seen[name] = line
        if name in row_of:
            splits[row_of[name]] = SPLIT_SPELLINGS[split]
    if not seen:
        raise DataError(f"{called} lists no samples.")
    return splits
