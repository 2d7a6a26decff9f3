"""Output that does not fail: any text on a terminal of any encoding, whether or not anybody reads it."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from astroclf.util.text import escaped

_SIGNS = {"–": "-", "—": "-", "…": "...", "→": "->", "×": "x", "·": "-", "±": "+-", "≥": ">=", "≤": "<=", "’": "'"}
_LEGIBLE = "astroclf.legible"  # an error handler of Python's codecs


def encodable(text: str, encoding: str) -> str:
    r"""Return a text with escapes for what an encoding has no sign for, so that it can be printed in it.

    >>> print(encodable("σ Ori – Be", "ascii"))
    \u03c3 Ori - Be
    """
    return text.encode(encoding, _LEGIBLE).decode(encoding)


def _legible(error: UnicodeError) -> tuple[str, int]:
    """Replace what an encoding lacks: signs of typography by their like in ASCII, all others by an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SIGNS.get(sign) or escaped(sign) for sign in error.object[error.start : error.end]), error.end


codecs.register_error(_LEGIBLE, _legible)


class Output:
    """What became of all that a command printed."""

    def __init__(self) -> None:
        self._pipes: list[_Pipe] = []

    @property
    def fault(self) -> str:
        """Why what was printed is not where it was to go; empty where a reader had seen enough, as ``head`` has."""
        lost = [pipe.lost for pipe in self._pipes if pipe.lost is not None and pipe.lost.errno != errno.EPIPE]
        return lost[0].strerror or str(lost[0]) if lost else ""

    def unfailing(self, stream: Any) -> Any:
        """Return a stream that shows what the given one would, and never raises."""
        if stream is None:  # closed by whoever started the process
            return io.StringIO()
        if not isinstance(stream, io.TextIOWrapper):
            return stream
        raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        if isinstance(raw, _Pipe):
            self._pipes.append(raw)
        if type(raw) is not io.FileIO:  # unfailing already; a console of Windows; memory
            stream.reconfigure(errors=_LEGIBLE)
            return stream
        stream.flush()
        pipe = _Pipe(raw.fileno(), "w", closefd=False)
        self._pipes.append(pipe)
        return io.TextIOWrapper(
            io.BufferedWriter(pipe),
            encoding=stream.encoding,
            errors=_LEGIBLE,
            line_buffering=stream.line_buffering or stream.write_through,  # the latter of `python -u`
        )


@contextmanager
def unfailing_output() -> Iterator[Output]:
    """Let nothing that is printed in the block raise: what cannot be shown is escaped, what cannot be written is lost.

    For commands; a library leaves the streams of its process alone. Those that are no files, such as a notebook's, are
    not touched.
    """
    output, before = Output(), (sys.stdout, sys.stderr)
    sys.stdout, sys.stderr = (output.unfailing(stream) for stream in before)
    try:
        yield output
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def print_to_file(path: str | os.PathLike[str]) -> None:
    """Send all that this process and its libraries print to the end of a file, in UTF-8."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(file, number)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=_LEGIBLE)
    os.close(file)


class _Pipe(io.FileIO):
    """A file descriptor that takes everything, and remembers what kept it from passing that on."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes
