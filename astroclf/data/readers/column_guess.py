"""What the columns of somebody else's table may be: proposed ready to paste, never taken without being asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from astroclf.data.readers.classes import class_key
from astroclf.data.readers.names import SampleNames
from astroclf.errors import DataError
from astroclf.settings.columns import TEXT_COLUMNS
from astroclf.util.tables import read_table

ROWS_LOOKED_AT = 200
MIN_FOUND = 0.5  # share of these rows for which a column must name a sample
LABEL_NAMES = (
    "label", "labels", "class", "classes", "class_name", "classname", "class_label", "classification", "category",
    "target", "type", "obj_type", "object_type", "morphology", "morph", "morph_type", "hubble_type", "gz2class",
    "gz2_class", "subclass", "y",
)  # fmt: skip


class Guess(NamedTuple):
    """The columns that seem to name the image and its class, in lower case; None: there is none that does."""

    path: str | None
    label: str | None
    rows: tuple[dict[str, str], ...] = ()  # the first of the table

    def words(self, table: str | None = None) -> str:
        """Return what to type for these columns."""
        columns = {"path": self.path, "label": self.label}
        named = ", ".join(f"{key}: {_quoted(name)}" for key, name in columns.items() if name not in (None, key))
        words = [f'"dataset.columns={{{named}}}"'] if named else []
        return " ".join([*([f"dataset.table={table}"] if table else []), *words])

    def repeats_folders(self, names: SampleNames) -> bool:
        """Tell if the label of every sample says what its folder does."""
        if self.path is None or self.label is None:
            return False
        for row in self.rows:
            if row[self.path] and names.has(row[self.path]):
                folders = names.find(row[self.path], "").split("/")[:-1]
                if class_key(row[self.label]) not in map(class_key, folders):
                    return False
        return True


def header_of(path: Path) -> list[str]:
    """Return the columns of a table, in lower case; none where it is no table."""
    found: list[str] = []
    try:
        next(read_table(path, found.extend), None)
    except DataError:
        return []
    return found


class HasNames(Protocol):
    """What tells if a cell of a table names a sample."""

    def has(self, text: str) -> bool:
        """Tell if a sample is found by this text."""
        ...


def guess_columns(path: Path, names: HasNames) -> Guess:
    """Look at the first rows of a table for a column that names samples, and one that is called as classes are."""
    header: list[str] = []
    try:
        rows = tuple(row for row, _ in islice(read_table(path, header.extend), ROWS_LOOKED_AT))
    except DataError:
        return Guess(None, None)
    whole = tuple(row for row in rows if None not in row and None not in row.values())
    shares = {column: _share(whole, column, names) for column in header if column not in LABEL_NAMES}
    found = max(shares, key=lambda column: shares[column], default=None)
    label = next((column for column in LABEL_NAMES if column in header and column != found), None)
    return Guess(found if found and shares[found] >= MIN_FOUND else None, label, whole)


def _share(rows: Sequence[dict[str, str]], column: str, names: HasNames) -> float:
    return sum(bool(text := row[column].strip()) and names.has(text) for row in rows) / max(1, len(rows))


def _quoted(name: str) -> str:
    """Return a column's name as Hydra reads it inside a mapping."""
    return name if re.fullmatch(r"[A-Za-z_][\w.]*", name) else f"'{name}'"


def list_columns(names: Sequence[str]) -> str:
    """Name the columns of a table in a sentence; of very many, the first."""
    shown = names[: 2 * len(TEXT_COLUMNS)]
    return (", ".join(shown) + (", …" if len(shown) < len(names) else "")) or "nothing"


def column_hint(path: Path, header: Sequence[str], names: SampleNames) -> str:
    """Return a sentence with the columns that may be meant, ready to paste; empty if there are none."""
    guess = guess_columns(path, names)
    guess = guess._replace(path="path" if "path" in header else guess.path)
    guess = guess._replace(label="label" if "label" in header else guess.label)
    return f" If these are they, say {guess.words()}." if guess.path and guess.label and guess.words() else ""
