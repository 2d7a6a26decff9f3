"""The database of studies: opened by any number of processes at once, and locked where something must happen once."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.tracking.client import hide_password

BUSY_SECONDS = 120.0  # how long a locked SQLite database is waited for
_SQLITE = "sqlite:///"


def absolute_storage(uri: str) -> str:
    """The same storage, named so that it does not depend on the working folder."""
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).expanduser().absolute()}"
    return uri


def open_storage(uri: str) -> BaseStorage:
    """Optuna's tables at `uri`, created by one process at a time.

    Raises
    ------
    SweepError
        The database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = uri.startswith(_SQLITE)
    # A connection is opened anew in each process; a busy SQLite file is waited for, not given up.
    engine = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
    try:
        if sqlite:
            path = Path(uri.removeprefix(_SQLITE))
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(path.name + ".lock"), timeout=BUSY_SECONDS):
                return RDBStorage(uri, engine_kwargs=engine)
        return RDBStorage(uri, engine_kwargs=engine)
    except (SQLAlchemyError, OSError, Timeout, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SweepError(
            f"The study's database hydra.sweeper.storage={hide_password(uri)} cannot be opened: {reason} Give one "
            "that can be written to, such as sqlite:///experiments/optuna.db, or start the database server."
        ) from error


@contextmanager
def study_lock(storage: BaseStorage, uri: str, name: str) -> Iterator[None]:
    """Nobody else takes or takes over a trial of this study meanwhile, on this host or another."""
    key = hashlib.sha256(name.encode()).hexdigest()
    if uri.startswith("postgresql"):
        number = int(key[:15], 16)
        with _engine(storage).connect() as connection:  # the lock goes with the connection, however that ends
            connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": number})
        return
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE))
        lock = path.with_name(f"{path.name}.{key[:12]}.lock")
    else:
        lock = Path(tempfile.gettempdir()) / f"astroclf-{key[:12]}.lock"
    with FileLock(lock, timeout=-1):
        yield


def _engine(storage: BaseStorage) -> Any:
    backend: Any = getattr(storage, "_backend", storage)  # a study wraps its database in a cache
    return backend.engine
