"""The database of a study, and the lock that its users take turns by."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import RDBStorage
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.tracking.address import hide_password

BUSY_SECONDS = 120.0  # how long a locked SQLite database is waited for
SQLITE = "sqlite:///"


def absolute_storage(uri: str) -> str:
    """Return a storage's address in the form that does not depend on the working folder."""
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute()}"
    return uri


def open_storage(uri: str) -> RDBStorage:
    """Open Optuna's tables at `uri`, created by one process at a time.

    Raises
    ------
    SweepError
        The database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = uri.startswith(SQLITE)
    # A connection is opened anew in each process; a busy SQLite file is waited for, not given up.
    engine = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
    try:
        if sqlite:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        with storage_lock(uri, timeout=BUSY_SECONDS):
            return RDBStorage(uri, engine_kwargs=engine)
    except (SQLAlchemyError, OSError, Timeout, ImportError, RuntimeError) as error:
        raise SweepError(
            f"The study's database hydra.sweeper.storage={hide_password(uri)} cannot be opened: {reason_of(error)}. "
            "Give one that can be written to, such as sqlite:///experiments/optuna.db, or start the database server."
        ) from error


def reason_of(error: BaseException) -> str:
    """Return what a database's driver said, without the statement that it said it of."""
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(". ")[:300]


@contextmanager
def storage_lock(uri: str, study: str = "", timeout: float = -1) -> Iterator[None]:
    """Hold a database's lock for one study, or for its tables.

    On PostgreSQL it holds between hosts; with any other database between the processes of one host.

    Parameters
    ----------
    uri
        The database, in the form that `absolute_storage` gives.
    study
        The study's name; empty: the tables.
    timeout
        Seconds to wait for it, not heeded on PostgreSQL; below 0: as long as it takes.

    Raises
    ------
    Timeout
        Another process held it all the time.
    """
    key = _digest(study)
    if uri.startswith("postgresql"):
        number = {"number": int(key[:15], 16)}
        with create_engine(uri, poolclass=NullPool).connect() as connection:  # the lock goes with it, however it ends
            connection.execute(text("SELECT pg_advisory_lock(:number)"), number)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)
        return
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
    else:
        path = Path(tempfile.gettempdir()) / f"astroclf-{_digest(uri)[:12]}"
    with FileLock(f"{path}.{key[:12]}.lock" if study else f"{path}.lock", timeout=timeout):
        yield


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
