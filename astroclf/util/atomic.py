"""Files that are either whole or not there: written beside their place, flushed to disk, then renamed into it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from astroclf.errors import AstroclfError
from astroclf.util.disk import refusal, why_refused

_NOT_WRITABLE = {
    errno.EACCES: "you may not write there",
    errno.EPERM: "you may not write there",
    errno.EEXIST: "a part of that path is a file, not a folder",
    errno.ENOTDIR: "a part of that path is a file, not a folder",
}
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{12}\.tmp(\.[\w-]+)?")  # what `temporary_path` gives
_NEARLY_FULL_BYTES = 1 << 20  # bytes left when a writer that hides its errno (torch.save) has met a full disk


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it takes the place of `path` when the block ends without an error.

    The temporary name keeps the suffix of `path`, since some writers choose their format by it. Missing parent folders
    are made. Works for a file, and for a folder that does not exist yet. A process killed inside the block leaves at
    most a hidden ``.<name>.<random>.tmp<suffix>`` behind, never half of `path`.

    Raises
    ------
    DiskError
        The disk is full, or the folder cannot be written to. Nothing is left behind, and an older `path` is untouched.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        _sync(path.parent)  # the rename itself must survive a power cut
    except BaseException as error:
        reason = _reason(error, temporary)  # before room is made again
        _remove(temporary)
        if reason is None:
            raise
        raise refusal(f"Could not write {path}", reason) from error


def temporary_path(path: Path) -> Path:
    """Return a new hidden path beside `path`, of the same suffix, that `clear_leftovers` knows for one."""
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}.tmp{path.suffix}")


def clear_leftovers(*folders: Path) -> None:
    """Remove what processes that were killed while they wrote have left in these folders, not in those below.

    The caller knows that no other process is writing there. What cannot be removed stays.
    """
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            if _LEFTOVER.fullmatch(path.name):
                _remove(path)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _reason(error: BaseException, temporary: Path) -> str | None:
    """Say why the user's disk refused; None when the error is not about the disk."""
    if isinstance(error, AstroclfError):
        return None
    if reason := why_refused(error):
        return reason
    if isinstance(error, OSError) and error.errno in _NOT_WRITABLE and _concerns(error, temporary):
        return _NOT_WRITABLE[error.errno]
    if isinstance(error, (OSError, RuntimeError)) and temporary.parent.is_dir():
        return "the disk is full" if shutil.disk_usage(temporary.parent).free < _NEARLY_FULL_BYTES else None
    return None


def _concerns(error: OSError, temporary: Path) -> bool:
    """Tell whether the refused file is ours (or a folder above it), and not one that the block was reading."""
    if error.filename is None:
        return True
    refused = Path(os.fsdecode(error.filename))
    return refused == temporary or refused in temporary.parents or temporary in refused.parents


def _flush_to_disk(path: Path) -> None:
    """Flush a file, or every file below a folder, to the disk itself."""
    for part in [path, *path.rglob("*")] if path.is_dir() else [path]:
        _sync(part)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no fsync on folders
            raise
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
