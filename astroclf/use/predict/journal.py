"""Rows that outlive their process: a file beside the output, to which they are added until all are there.

It is an Arrow stream, which can be added to and read up to where a kill tore it. Its head says what the rows are of, so
that nobody goes on with those of another model or of other inputs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from astroclf.errors import ConfigError
from astroclf.util.atomic import write_bytes
from astroclf.util.disk import why_refused
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import filelock
    import pyarrow
    from pyarrow import ipc
else:
    filelock = lazy_import("filelock")
    pyarrow = lazy_import("pyarrow")
    ipc = lazy_import("pyarrow.ipc")

FACTS = b"astroclf"  # key of the schema's metadata


class Journal:
    """The rows of one output that are known so far; open in one process at a time.

    Parameters
    ----------
    path
        Of the file; made if it is not there.
    schema
        The columns.
    facts
        What the rows are of.
    fresh
        Whether rows of other facts are thrown away, and no error.

    Attributes
    ----------
    rows : int
        How many there are.

    Raises
    ------
    ConfigError
        The file has rows of something else, or another process adds to it; the message says which.
    """

    def __init__(self, path: Path, schema: pyarrow.Schema, facts: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.path, self.rows = path, 0
        self._schema = schema.with_metadata({FACTS: json.dumps(facts)})
        self._lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout as error:
            raise ConfigError(
                f"Another process is writing {path}. Wait for its end, or give another output=."
            ) from error
        except OSError as error:
            if why_refused(error):
                raise
            raise ConfigError(
                f"{path.parent} cannot be written to ({error.strerror or error}). Give another output=."
            ) from error
        try:
            self._open(facts, fresh)
        except BaseException:
            self._release()
            raise

    def append(self, batch: pyarrow.RecordBatch) -> None:
        """Add rows; they are there once this returns, whatever becomes of the process."""
        self._file.write(batch.serialize())
        self._file.flush()
        self.rows += len(batch)

    def batches(self) -> Iterator[pyarrow.RecordBatch]:
        """Yield all rows in their order, as they were added."""
        with pyarrow.OSFile(str(self.path)) as file:
            schema = ipc.read_schema(file)
            while file.tell() < file.size():
                yield ipc.read_record_batch(ipc.read_message(file), schema)

    def remove(self) -> None:
        """Remove the file: its rows are elsewhere now."""
        self._file.close()
        self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._release()

    def _open(self, facts: Mapping[str, Any], fresh: bool) -> None:
        found = read_facts(self.path)
        if found is not None and found != facts:
            if not fresh:
                raise ConfigError(other_facts(self.path, found, facts))
            found = None
        if found is None:
            write_bytes(self.path, self._schema.serialize().to_pybytes())
        self.rows, end = _whole_rows(self.path)
        self._file = self.path.open("r+b")
        self._file.truncate(end)
        self._file.seek(end)

    def _release(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)


def read_facts(path: Path) -> dict[str, Any] | None:
    """Read what the rows of a journal are of; None where there is none.

    Raises
    ------
    ConfigError
        The file is no journal.
    """
    if not path.exists():
        return None
    try:
        with pyarrow.OSFile(str(path)) as file:
            metadata = ipc.read_schema(file).metadata or {}
    except (pyarrow.ArrowException, EOFError, OSError):
        metadata = {}
    facts = json.loads(metadata.get(FACTS, b"null"))
    if facts is None and path.stat().st_size:
        raise ConfigError(f"{path} is in the way: it is no beginning of predictions. Move it, or give another output=.")
    return facts


def other_facts(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in what an earlier beginning, or end, is of something else."""
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    shown = "; ".join(f"{name}: {_shown(found.get(name))} there, {_shown(wanted[name])} now" for name in differ)
    return (
        f"{path} holds predictions of something else ({shown}). Give another output=, or throw those away with "
        "overwrite=true."
    )


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _whole_rows(path: Path) -> tuple[int, int]:
    """Count the rows up to where the file ends or is torn, and say where that is."""
    rows = 0
    with pyarrow.OSFile(str(path)) as file:
        schema, size = ipc.read_schema(file), os.path.getsize(path)
        end = file.tell()
        while end < size:
            try:
                rows += len(ipc.read_record_batch(ipc.read_message(file), schema))
            except (pyarrow.ArrowException, EOFError, OSError):
                break
            end = file.tell()
    return rows, end
