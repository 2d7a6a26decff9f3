"""When an image cache was last used, and whether a process uses it now: a mark on its marker file, and no data written.

The time of the last use is the marker's modification time. "In use" is a shared lock that the operating system drops
when the process ends, however it ends. Windows refuses to delete a mapped file by itself, and needs no lock.
"""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def mark_use(marker: Path, user: object) -> None:
    """Note that the image cache is used, from now until `user` (the mapped images) is gone.

    A cache that is read-only, or on a file system without locks, is used without a mark.
    """
    with suppress(OSError):
        os.utime(marker)
    if fcntl is not None:
        with suppress(OSError):
            handle = os.open(marker, os.O_RDONLY)
            weakref.finalize(user, os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH)


def last_use(marker: Path) -> float:
    """Seconds since the epoch."""
    return marker.stat().st_mtime


def in_use(marker: Path) -> bool:
    """Whether a process (this one included) has the images mapped, as far as can be told."""
    if fcntl is None:
        return False
    try:
        # Open for writing where allowed: network file systems want that for an exclusive lock.
        handle = os.open(marker, os.O_RDWR if os.access(marker, os.W_OK) else os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks on this file system
        return False
    finally:
        os.close(handle)
    return False
