"""``history.csv``: one row per validation."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from astroclf.util.atomic import write_text


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write all rows anew, atomically. Floats in full precision; NaN (no value) as an empty field."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [row.get(column, math.nan) for column in columns]
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else repr(v) for v in values])
    write_text(path, text.getvalue())
