"""The database of a study, and the lock that its users take turns by."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.tracking.address import hide_password
from astroclf.tracking.client import AWAY_SECONDS, NEXT_TRY_SECONDS
from astroclf.util.logs import log

BUSY_SECONDS = 120.0  # how long a locked SQLite database is waited for
# Seconds of silence, between two questions, and questions without an answer, after which the server lets go of the lock
# of a host that is gone. Without them it is the system's two hours, for which nobody could begin a trial.
_KEEPALIVES = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 4}
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
    kind = RDBStorage if sqlite else _PatientStorage
    try:
        if sqlite:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        with storage_lock(uri, timeout=BUSY_SECONDS, patient=False):
            storage = kind(uri, engine_kwargs=engine)
    except (SQLAlchemyError, OSError, Timeout, ImportError, RuntimeError) as error:
        raise SweepError(
            f"The study's database hydra.sweeper.storage={hide_password(uri)} cannot be opened: {reason_of(error)}. "
            "Give one that can be written to, such as sqlite:///experiments/optuna.db, or start the database server."
        ) from error
    if not sqlite:
        _wait_for_server(storage.engine)
    return storage


class _PatientStorage(RDBStorage):
    """Optuna's tables on a server: what was asked as the connection broke is asked again, once there is another one.

    An answer that was lost on its way is no harm: values are set twice to the same, a trial that was made twice has no
    claim and goes to the next who asks, and a trial that was told is found to be.
    """


def _asked_again(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except (StorageInternalError, SQLAlchemyError) as error:
            if not _is_broken(error):
                raise
        return method(*arguments, **options)

    return call


for _name in sorted(BaseStorage.__abstractmethods__):
    setattr(_PatientStorage, _name, _asked_again(getattr(RDBStorage, _name)))


def _is_broken(error: BaseException) -> bool:
    """Return whether an error is that of a connection which broke."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    return cause is not None and cause.connection_invalidated


def _wait_for_server(engine: Engine) -> None:
    """Let new connections of an engine wait for a server that went away, up to `AWAY_SECONDS`."""
    place = hide_password(engine.url.render_as_string())

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, options: Any) -> Any:
        end, is_told = time.monotonic() + AWAY_SECONDS, False
        while True:
            try:
                connection = dialect.connect(*arguments, **options)
            except dialect.loaded_dbapi.OperationalError as error:
                if time.monotonic() > end:
                    raise
                if not is_told:
                    said = "The study's database %s does not answer (%s); it is waited for, up to %.0f minutes."
                    log.warning(said, place, reason_of(error), AWAY_SECONDS / 60)
                    is_told = True
                time.sleep(NEXT_TRY_SECONDS)
            else:
                if is_told:
                    log.warning("The study's database %s answers again.", place)
                return connection


def reason_of(error: BaseException) -> str:
    """Return what a database's driver said, without the statement that it said it of."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:  # Optuna guesses
        error = error.__cause__
    return " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(". ?")[:300]


def _locked(engine: Engine, number: dict[str, int]) -> Connection:
    """Return a connection that holds an advisory lock; one that breaks while it waits for it is replaced."""
    while True:
        connection = engine.connect()
        try:
            for name, value in _KEEPALIVES.items():
                connection.execute(text(f"SET {name} = {value}"))
            connection.execute(text("SELECT pg_advisory_lock(:number)"), number)
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
        else:
            return connection


@contextmanager
def storage_lock(uri: str, study: str = "", timeout: float = -1, patient: bool = True) -> Iterator[None]:
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
    patient
        Whether a server that does not answer is waited for.

    Raises
    ------
    Timeout
        Another process held it all the time.
    """
    if uri.startswith("postgresql"):
        engine, number = create_engine(uri, poolclass=NullPool), {"number": lock_number(study)}
        if patient:
            _wait_for_server(engine)
        connection = _locked(engine, number)
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the lock goes with its connection, however that ends
                connection.close()
        return
    with FileLock(lock_file(uri, study), timeout=timeout):
        yield


def lock_number(study: str) -> int:
    """Return the number of a study's advisory lock in PostgreSQL."""
    return int(_digest(study)[:15], 16)


def lock_file(uri: str, study: str = "") -> Path:
    """Return the file that a study's lock is where its database is not PostgreSQL."""
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
    else:
        path = Path(tempfile.gettempdir()) / f"astroclf-{_digest(uri)[:12]}"
    return path.with_name(f"{path.name}.{_digest(study)[:12]}.lock" if study else f"{path.name}.lock")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
