"""The samples of a folder: of its table, or of its class folders; and an account of all else that lies there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from astroclf.data.catalog import LeftOut
from astroclf.data.readers.accounts import CLOSED, NO_FORMAT, NOT_LISTED, first_names, left_out
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.column_guess import header_of
from astroclf.data.readers.find_table import AUTO, NONE, find_table, unread_tables
from astroclf.data.readers.layout import are_class_folders, list_all, list_folders
from astroclf.data.readers.listing import Listing
from astroclf.data.readers.names import SampleNames
from astroclf.data.readers.tables import TableReader, TableRules
from astroclf.data.readers.walk import Tree, walk
from astroclf.errors import DataError
from astroclf.settings.columns import ColumnSettings
from astroclf.settings.dataset import Labels
from astroclf.util.logs import log


def list_samples(
    root: Path, table: str, rules: TableRules, bands: BandFiles | None = None, labels: Labels = "required"
) -> Listing:
    """List the samples of a folder, and what in it is none.

    Parameters
    ----------
    table
        ``dataset.table``: a file, ``auto`` or ``none``.
    rules
        How the rows of a table are read.
    bands
        The name patterns of samples whose bands are files of their own.
    labels
        See `ClassFolder`.

    Raises
    ------
    DataError
        The folder holds no images, or none whose class can be told where labels are required, or contradicts itself.
    """
    tree = walk(root)
    if closed := [item.name for item in tree.left_out if item.reason == CLOSED]:
        log.warning("%s: may not be opened, and nothing in it is read: %s.", root, first_names(closed))
    names = _names(root, tree, bands)
    if labels == "none" and table == AUTO:
        table = NONE  # the labels of one that was found would be left aside, and what it does not list left out
    path = find_table(root, tree, table, rules.columns, names)
    if path is not None:
        unlabelled = labels != "required" and (labels == "none" or _lacks_label(path, rules.columns))
        listing = TableReader(path, names, replace(rules, labelled=not unlabelled)).read()
    elif labels == "none" or (labels == "auto" and not are_class_folders(tree)):
        listing = list_all(root, tree, bands)
    else:
        listing = list_folders(root, tree, rules.classes, bands)
    listing.left_out += _rest(root, tree, listing, path, bands)
    return listing


def wrong_rows(root: Path, table: str = AUTO, rules: TableRules | None = None) -> list[str]:
    """Find what is wrong with every row of the table that cannot be right; `list_samples` stops at the first."""
    rules, faults = rules or TableRules(), list[str]()
    try:
        tree = walk(root)
        names = _names(root, tree, None)
        if path := find_table(root, tree, table, rules.columns, names):
            TableReader(path, names, rules).read(faults)
    except DataError:  # not a row, but the whole
        pass
    return faults


def _lacks_label(path: Path, columns: ColumnSettings) -> bool:
    return columns.missing_in(header_of(path)) == [columns.named()["label"]]


def _names(root: Path, tree: Tree, bands: BandFiles | None) -> SampleNames:
    return SampleNames(root, tree.images if bands is None else bands.group(tree.images)[0], bands)


def _rest(root: Path, tree: Tree, listing: Listing, table: Path | None, bands: BandFiles | None) -> list[LeftOut]:
    """List the visible files that are neither samples nor left out already, and what was passed over."""
    files = {file for name in listing.ids for file in (bands.files(name) if bands else [name])}
    named = {item.name for item in listing.left_out}
    tables = unread_tables(tree, table, root)
    images = set(tree.images)
    rest = [file for file in tree.files if file not in files and str(root / file) != str(table)]
    return [
        *(item for item in left_out((file for file in rest if file in images), NOT_LISTED) if item.name not in named),
        *(item for file in rest if file in tables for item in left_out([file], tables[file])),
        *left_out((file for file in rest if file not in tables and file not in images), NO_FORMAT),
        *tree.left_out,
    ]
