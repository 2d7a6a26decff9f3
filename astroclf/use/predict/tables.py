"""The table of answers in the format that its suffix asks for: CSV, JSON lines, Parquet, FITS or VOTable."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.errors import ConfigError
from astroclf.util.atomic import atomic_path
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import pyarrow
    from astropy import table as astropy_table
    from pyarrow import compute, parquet
else:
    pyarrow = lazy_import("pyarrow")
    compute = lazy_import("pyarrow.compute")
    parquet = lazy_import("pyarrow.parquet")
    astropy_table = lazy_import("astropy.table")

ROWS_OF_A_GROUP = 2**16  # of Parquet
# Numbers as text, without leading zeros: 007 is a name.
_WHOLE = r"^-?(0|[1-9][0-9]{0,18})$"
_TOO_LONG = r"^[+-]?[1-9][0-9]{15,}(\.0*)?$"  # whole numbers that float64 would round, such as ids of surveys
_NUMBER = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"

Batches = Callable[[], Iterable["pyarrow.RecordBatch"]]


def check_format(output: Path) -> None:
    """Refuse an output whose suffix is of no format.

    Raises
    ------
    ConfigError
        It is not.
    """
    if output.suffix.lower() not in _WRITERS:
        raise ConfigError(f"output={output}: its suffix says the format, which is one of {', '.join(_WRITERS)}.")


def write_answers(output: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    """Write all rows, atomically, in the format of the suffix.

    Parameters
    ----------
    batches
        Gives the rows from the first, each time that it is called.
    schema
        Their columns.
    carried
        Of these, the ones that came as text, and are numbers again in formats that know numbers.
    """
    with atomic_path(output) as temporary:
        _WRITERS[output.suffix.lower()](temporary, batches, schema, carried)


def _write_csv(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.names)
        for batch in batches():
            writer.writerows(zip(*(_csv_cells(column) for column in batch.columns), strict=True))


def _csv_cells(column: pyarrow.Array) -> Iterator[str]:
    if pyarrow.types.is_floating(column.type):
        return ("" if value is None else f"{value:.7g}" for value in column.to_pylist())
    if pyarrow.types.is_boolean(column.type):
        return ("" if value is None else str(value).lower() for value in column.to_pylist())
    return (value or "" for value in column.to_pylist())


def _write_lines(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    wanted = _typed_schema(batches, schema, carried)
    with path.open("w", encoding="utf-8") as file:
        for batch in batches():
            columns = [_json_values(column) for column in _cast(batch, wanted).columns]
            for row in zip(*columns, strict=True):
                file.write(json.dumps(dict(zip(wanted.names, row, strict=True)), ensure_ascii=False) + "\n")


def _json_values(column: pyarrow.Array) -> list[Any]:
    """Return values as JSON holds them: float32 without the digits that it has not, and nothing that is no number."""
    values = column.to_pylist()
    if not pyarrow.types.is_floating(column.type):
        return values
    digits = 9 if column.type == pyarrow.float32() else 17
    return [None if v is None or not math.isfinite(v) else float(f"{v:.{digits}g}") for v in values]


def _write_parquet(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    wanted = _typed_schema(batches, schema, carried)
    with parquet.ParquetWriter(path, wanted) as writer:
        waiting: list[pyarrow.RecordBatch] = []
        for batch in batches():
            waiting.append(_cast(batch, wanted))
            if sum(map(len, waiting)) >= ROWS_OF_A_GROUP:
                writer.write_table(pyarrow.Table.from_batches(waiting))
                waiting = []
        writer.write_table(pyarrow.Table.from_batches(waiting, wanted))


def _write_astropy(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str], format: str) -> None:
    wanted = _typed_schema(batches, schema, carried)
    whole = pyarrow.Table.from_batches([_cast(batch, wanted) for batch in batches()], wanted)
    table = astropy_table.Table()
    for name in wanted.names:
        table[name] = _astropy_column(whole[name], format)
    with warnings.catch_warnings(action="ignore"):  # the ID that VOTable gives beside a name with a space
        table.write(path, format=format, overwrite=True)


def _astropy_column(column: pyarrow.ChunkedArray, format: str) -> Any:
    if pyarrow.types.is_string(column.type):
        texts = [text or "" for text in column.to_pylist()]
        if format == "fits":  # the standard knows no letters beyond ASCII
            texts = [text.encode("ascii", "backslashreplace").decode() for text in texts]
        return np.array(texts, dtype=str)
    missing = column.is_null().to_numpy()
    if pyarrow.types.is_floating(column.type):
        return column.to_numpy()  # NaN where it is not known
    if pyarrow.types.is_boolean(column.type):
        known = column.fill_null(False).to_numpy()
        # FITS has no third value of a truth: astropy would write true for what is not known.
        return known if format == "fits" else astropy_table.MaskedColumn(known, mask=missing)
    return astropy_table.MaskedColumn(column.fill_null(0).to_numpy(), mask=missing)


def _typed_schema(batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> pyarrow.Schema:
    """Return the schema in which those carried columns are numbers that are so in every row with something there."""
    fits = {name: {pyarrow.int64(), pyarrow.float64()} for name in carried}
    filled = dict.fromkeys(carried, False)
    for batch in batches():
        for name, types in fits.items():
            cells = compute.utf8_trim_whitespace(batch.column(name))
            cells = cells.filter(compute.not_equal(cells, ""))
            filled[name] |= len(cells) > 0
            types -= {kind for kind in types if not _all_are(cells, kind)}
    for name, types in fits.items():
        if types and filled[name]:
            kind = pyarrow.int64() if pyarrow.int64() in types else pyarrow.float64()
            schema = schema.set(schema.get_field_index(name), pyarrow.field(name, kind))
    return schema.remove_metadata()


def _all_are(cells: pyarrow.Array, kind: pyarrow.DataType) -> bool:
    """Return whether all texts are numbers of a kind, which holds them to the last digit of what is whole."""
    pattern = _WHOLE if kind == pyarrow.int64() else _NUMBER
    if not compute.all(compute.match_substring_regex(cells, pattern), min_count=0).as_py():
        return False
    if kind == pyarrow.float64():
        return not compute.any(compute.match_substring_regex(cells, _TOO_LONG), min_count=0).as_py()
    try:
        cells.cast(kind)
    except pyarrow.ArrowInvalid:  # beyond 2**63
        return False
    return True


def _cast(batch: pyarrow.RecordBatch, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    columns = [_as_type(column, field.type) for field, column in zip(schema, batch.columns, strict=True)]
    return pyarrow.RecordBatch.from_arrays(columns, schema=schema)


def _as_type(column: pyarrow.Array, kind: pyarrow.DataType) -> pyarrow.Array:
    if column.type == kind:
        return column
    cells = compute.utf8_trim_whitespace(column)
    return compute.if_else(compute.equal(cells, ""), None, cells).cast(kind)


def _write_fits(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    _write_astropy(path, batches, schema, carried, "fits")


def _write_votable(path: Path, batches: Batches, schema: pyarrow.Schema, carried: Sequence[str]) -> None:
    _write_astropy(path, batches, schema, carried, "votable")


_WRITERS = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
    ".fits": _write_fits,
    ".vot": _write_votable,
    ".xml": _write_votable,
}
