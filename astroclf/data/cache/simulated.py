"""Simulated data sets kept in the cache folder: each is simulated once, by whichever process comes first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from astroclf.errors import DataError
from astroclf.util.atomic import write_text

FOLDER = "simulated"  # below the cache folder
SETTINGS_FILE = "settings.json"  # for people, and its time is that of the last use
LOCK_FILE = "simulating.lock"


def simulate_once(
    cache_dir: str | Path, name: str, settings: dict[str, int], file_name: str, write: Callable[[Path], object]
) -> Path:
    """Return the path of a simulated data set, which `write` makes unless it is there.

    Parameters
    ----------
    settings
        Everything that changes the data, the simulator's version included: other settings, another folder.
    file_name
        What `write` makes inside the data set's folder.
    write
        Takes the path and makes it atomically. Other processes wait meanwhile.

    Raises
    ------
    DataError
        The cache folder cannot be written to.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path(cache_dir).expanduser() / FOLDER / f"{name}-{digest}"
    path = folder / file_name
    if path.exists():
        with suppress(OSError):  # a cache that is read-only
            os.utime(folder / SETTINGS_FILE)
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_FILE)
        with lock:
            if not path.exists():
                write_text(folder / SETTINGS_FILE, json.dumps(settings) + "\n")
                write(path)
    except OSError as error:
        raise DataError(
            f"{folder} cannot hold the simulated data: {error.strerror or error}. "
            "Choose a folder that you may write to with dataset.cache_dir=FOLDER."
        ) from error
    return path
