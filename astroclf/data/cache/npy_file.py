"""A uint8 .npy file that is written row by row, in any order, and can lose rows at the end of it all."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np


class RowFile:
    """An open .npy file of the given shape; made, sparse, where there is none of that size.

    Parameters
    ----------
    path
        The file.
    shape
        Rows first.

    Attributes
    ----------
    is_new : bool
        This call made the file.
    names : tuple of str
        What it is called.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape, self.names = path, shape, (path.name,)
        self._start = _header_bytes(shape)
        self._row_bytes = int(np.prod(shape[1:]))
        size = self._start + shape[0] * self._row_bytes
        self.is_new = not path.is_file() or path.stat().st_size != size
        self._file: BinaryIO = path.open("w+b" if self.is_new else "r+b")
        if self.is_new:
            _write_header(self._file, shape)
            self._file.truncate(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def packed(self, rows: np.ndarray) -> list[memoryview]:
        """Return rows as `write` takes them."""
        return [np.ascontiguousarray(rows).data]

    def missing_bytes(self, written: int) -> int:
        """Count the bytes that the disk must still have room for: the file is sparse until its rows are written."""
        status = self.path.stat()
        return max(0, status.st_size - getattr(status, "st_blocks", 0) * 512)

    def read(self, start: int, stop: int) -> bytes:
        """Read the rows [start, stop)."""
        self._file.seek(self._start + start * self._row_bytes)
        return self._file.read((stop - start) * self._row_bytes)

    def write(self, start: int, packed: Sequence[bytes | memoryview]) -> None:
        """Put rows at `start`, and hand them to the operating system."""
        # Plain writes, not a memory map: a full disk is an error here, but kills a process that writes through a map.
        self._file.seek(self._start + start * self._row_bytes)
        for part in packed:
            self._file.write(part)
        self._file.flush()

    def keep(self, rows: np.ndarray) -> None:
        """Keep only these rows (sorted): move them forward over the others, and shorten the file."""
        if len(rows) == self.shape[0]:
            return
        for position, row in enumerate(rows.tolist()):
            if position != row:
                self.write(position, [self.read(row, row + 1)])
        self.shape = (len(rows), *self.shape[1:])
        self._file.seek(0)
        _write_header(self._file, self.shape)
        self._file.truncate(self._start + len(rows) * self._row_bytes)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    # NumPy pads the header so that a first axis with fewer digits takes the same room: rows keep their place.


def _header_bytes(shape: tuple[int, ...]) -> int:
    buffer = io.BytesIO()
    _write_header(buffer, shape)
    return buffer.tell()
