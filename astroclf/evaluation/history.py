"""``history.csv``, one row for each validation of a run, and ``steps.csv``, one for each step or every few."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from astroclf.util.atomic import write_text

HISTORY_FILE, STEPS_FILE = "history.csv", "steps.csv"


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write all rows anew, atomically: floats in full precision, NaN (no value) as an empty field."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [row.get(column, math.nan) for column in columns]
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else repr(v) for v in values])
    write_text(path, text.getvalue())


def read_history(path: str | Path) -> dict[str, np.ndarray]:
    """Read the columns of either file; an empty field is NaN."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = rows[0].keys() if rows else ()
    return {name: np.array([float(row[name]) if row[name] else math.nan for row in rows]) for name in names}
