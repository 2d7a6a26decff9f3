"""Whether a disk would be written to, and why it refused, told from whatever error a library made of it."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from astroclf.errors import AstroclfError, DiskError

_FULL = "the disk is full"
_READ_ONLY = "the file system is read-only"
_REFUSALS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "your disk quota is used up",
    errno.EROFS: _READ_ONLY,
}
_SIGNS = {  # of libraries that keep the number to themselves: SQLite, HDF5, MLflow's server
    "database or disk is full": _FULL,
    "No space left on device": _FULL,
    "errno = 28": _FULL,
    "readonly database": _READ_ONLY,
    "Read-only file system": _READ_ONLY,
}


def why_refused(error: BaseException) -> str | None:
    """Return why the disk refused, if that is what an error, or one that led to it, is about."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in _REFUSALS:
            return _REFUSALS[each.errno]
        for sign, reason in _SIGNS.items():
            if sign in str(each):
                return reason
    return None


def in_one_paragraph(error: BaseException) -> DiskError | None:
    """Return what a user is told of a disk that refused; None for an error about anything else."""
    if isinstance(error, DiskError):
        return error
    reason = why_refused(error)
    if reason is None:
        return None
    if isinstance(error, AstroclfError):  # in words already, such as what could not be registered
        return DiskError(str(error))
    names = [each.filename for each in _chain(error) if isinstance(each, OSError) and each.filename]
    return refusal(f"Could not write {names[0]}" if names else "Something could not be written", reason)


def try_folder(folder: Path) -> None:
    """Try whether a file can be made in a folder, or in the nearest one above that is there; nothing is left.

    Raises
    ------
    OSError
        It cannot; ``filename`` is the folder that was tried.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return
    except OSError as error:
        error.filename = str(there)
        raise


def refusal(what: str, reason: str) -> DiskError:
    """Return what a user is told, from what could not be done and why."""
    remedy = (
        "Choose a folder that you may write to" if reason == _READ_ONLY else "Free some space or choose another folder"
    )
    return DiskError(f"{what}: {reason}. {remedy}, then start again; what was written before is intact.")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, the last first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or current.__context__
