"""A table of the images: which samples a data set has, what they show, and what is known about them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from astroclf.data.catalog import SPLIT_SPELLINGS
from astroclf.data.readers.accounts import LOW_VOTE, TIED_VOTE, UNLABELLED, left_out
from astroclf.data.readers.classes import MISSING_LABELS, label_key
from astroclf.data.readers.column_guess import column_hint, list_columns
from astroclf.data.readers.listing import UNLABELLED as UNLABELLED_CLASS
from astroclf.data.readers.listing import Listing
from astroclf.data.readers.names import SampleNames
from astroclf.errors import DataError
from astroclf.settings.columns import TEXT_COLUMNS, ColumnSettings
from astroclf.util.tables import read_table, row_name
from astroclf.util.text import did_you_mean

QUOTES = "'\""


@dataclass(frozen=True)
class TableRules:
    """How the rows of a table are read: the keys of ``conf/dataset/_folder.yaml``.

    Attributes
    ----------
    columns
        What the columns are called.
    min_vote
        The least of a sample's largest vote.
    skip_unlabelled
        Whether a row without a label is left out, and no error.
    classes
        The classes that are asked for, as typed; None: those that are there.
    labelled
        Whether labels and votes are read; else all samples are of one class.
    """

    columns: ColumnSettings = field(default_factory=ColumnSettings.with_defaults)
    min_vote: float = 0.0
    skip_unlabelled: bool = False
    classes: Sequence[str] | None = None
    labelled: bool = True

    def is_missing(self, label: str) -> bool:
        """Tell if a label stands for none: one that `classes` names is a class, whatever its name."""
        named = {label_key(name) for name in self.classes or ()}
        return label.casefold() in MISSING_LABELS and label_key(label) not in named


class TableReader:
    """One reading of a table, row by row.

    Parameters
    ----------
    path
        The table.
    names
        The samples that the folder holds.
    rules
        What the columns are, and what becomes of rows without a label.
    """

    def __init__(self, path: Path, names: SampleNames, rules: TableRules) -> None:
        self.path, self.names, self.rules = path, names, rules
        self.columns = rules.columns.named()
        votes = rules.columns.vote_columns() if rules.labelled else {}
        self.votes = {name: column.strip().lower() for name, column in votes.items()}
        self.listing = Listing()
        self.unlabelled: list[str] = []  # what is wrong with each such row
        self._seen: dict[str, str] = {}

    def read(self, faults: list[str] | None = None) -> Listing:
        """Read the whole table.

        Parameters
        ----------
        faults
            A list for what is wrong with rows: these are then left out, where else the first raises.

        Raises
        ------
        DataError
            Not a table, a column missing, or a row that cannot be right: its line is named.
        """
        for values, number in read_table(self.path, self._check_header):
            try:
                self._add(values, row_name(self.path, number))
            except DataError as error:
                if faults is None:
                    raise
                faults.append(str(error))
        if not self.rules.skip_unlabelled and self.unlabelled:
            if faults is None:
                raise DataError(self._without_label())
            faults += [f"{text}: dataset.on_unlabelled=skip leaves it out" for text in self.unlabelled]
        if not self.listing.ids:
            if not self._seen:
                reason = "it has a header and nothing below"
            elif any(item.reason == LOW_VOTE for item in self.listing.left_out):
                reason = f"no vote reaches dataset.min_vote={self.rules.min_vote:g}"
            else:
                reason = "not one row has a label"
            raise DataError(f"{self.path} lists no images: {reason}.")
        return self.listing

    def _check_header(self, names: list[str]) -> None:
        for key in self.rules.columns.missing_in(names) if self.rules.labelled else {self.columns["path"]} - {*names}:
            raise DataError(
                f"{self.path} has no column `{key}`; its first line must name the columns path and label, and "
                f"optionally split, group, ra, dec. It names {list_columns(names)}."
                f"{column_hint(self.path, names, self.names)}"
            )
        repeated = [name for name in (*self.columns.values(), *self.votes.values()) if names.count(name) > 1]
        if repeated:
            raise DataError(f"{self.path} has the column `{repeated[0]}` twice.")

    def _add(self, values: Mapping[str, str], where: str) -> None:
        if None in values:  # csv puts surplus cells under the key None
            raise DataError(f"{where}: more cells than the header has columns (a comma in a name needs quotes).")
        if None in values.values():  # an empty cell keeps its comma: a line without was cut, or two lines became one
            raise DataError(f"{where}: fewer cells than the header has columns (an empty cell keeps its comma).")
        cell = {key: values.get(self.columns[key], "").strip() for key in TEXT_COLUMNS}
        if odd := [text for text in cell.values() if re.search(r"[\x00-\x1f\x7f]", text)]:
            raise DataError(f"{where}: {odd[0]!r} holds a control character: the file is damaged.")
        if not cell["path"]:
            raise DataError(f"{where}: the path is empty.")
        identifier = self.names.find(cell["path"], where)
        if identifier in self._seen:
            raise DataError(f"{where}: `{identifier}` is listed already in {self._seen[identifier]}.")
        if cell["split"].lower() not in SPLIT_SPELLINGS:
            hint = did_you_mean(cell["split"], SPLIT_SPELLINGS)
            raise DataError(
                f"{where}: the split `{cell['split']}` is none of train, val, test{hint} Leave it empty to have it "
                "chosen."
            )
        ra, dec = (_degrees(cell[key], key, low, -low, where) for key, low in (("ra", -360), ("dec", -90)))
        self._seen[identifier] = where.rpartition(", ")[2]
        votes = {name: _vote(values[column], column, where) for name, column in self.votes.items()}
        label = self._voted(votes, identifier, where) if votes else self._label(cell["label"], identifier, where)
        if label is None:
            return
        self.listing.ids.append(identifier)
        self.listing.labels.append(label)
        self.listing.where.append(where)
        self.listing.split.append(SPLIT_SPELLINGS[cell["split"].lower()])
        self.listing.group.append(cell["group"])
        self.listing.ra_deg.append(ra)
        self.listing.dec_deg.append(dec)
        if votes:
            self.listing.votes.append(votes)

    def _label(self, text: str, identifier: str, where: str) -> str | None:
        """Return the label, without the quotes that make a class of a word for none; None: there is no label."""
        if not self.rules.labelled:
            return UNLABELLED_CLASS
        if self.rules.is_missing(text):
            self.unlabelled.append(f"{where}: the label is {f'`{text}`, which stands for none' if text else 'empty'}")
            self.listing.left_out += left_out([identifier], UNLABELLED)
            return None
        quoted = len(text) > 2 and text[0] == text[-1] and text[0] in QUOTES
        return text[1:-1] if quoted and text[1:-1].casefold() in MISSING_LABELS else text

    def _voted(self, votes: Mapping[str, float], identifier: str, where: str) -> str | None:
        """Return the class with the most votes; None: no votes, too few, or as many for another."""
        most = max(votes.values())
        if most == 0:
            self.unlabelled.append(f"{where}: no class has a vote")
            self.listing.left_out += left_out([identifier], UNLABELLED)
            return None
        first = [name for name, vote in votes.items() if vote == most]
        if most < self.rules.min_vote or len(first) > 1:
            self.listing.left_out += left_out([identifier], LOW_VOTE if most < self.rules.min_vote else TIED_VOTE)
            return None
        return first[0]

    def _without_label(self) -> str:
        more = len(self.unlabelled) - 1
        return (
            f"{self.unlabelled[0]}{f', and {more:,} more have none' * (more > 0)}. Label them, or leave them out with "
            "dataset.on_unlabelled=skip. A class that is called so stands in quotes in its cell, 'none', or is named "
            "in dataset.classes."
        )


def _vote(text: str, column: str, where: str) -> float:
    """Return a fraction of votes; an empty cell is none."""
    try:
        vote = float(text or 0)
    except ValueError:
        vote = -1.0
    if math.isnan(vote):
        return 0.0
    if not 0 <= vote <= 1:
        raise DataError(f"{where}: {column}=`{text}` is not a fraction of votes from 0 to 1.")
    return vote


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
