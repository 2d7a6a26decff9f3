"""The tracking database: named absolutely, created once however many processes start together, checked before use.

MLflow creates the tables of a new SQLite file statement by statement and without a lock. Eight processes that start
together on a fresh path all fail and leave a file that no later process can use. Here the tables are made in a
temporary file under a lock, and only a finished database is renamed into its place: neither a race nor a kill can
leave half of one.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import AstroclfError, TrackingError
from astroclf.tracking.address import (
    absolute_uri,
    hide_password,
    is_bare_database,
    is_server,
    is_there,
    lock_file,
    scheme_of,
    sqlite_file,
)
from astroclf.tracking.client import connect, prepare_environment, tracking_errors
from astroclf.util.atomic import atomic_path
from astroclf.util.disk import try_folder
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import filelock
    import requests
    import sqlalchemy
    from mlflow.store.db import utils as mlflow_tables
else:
    filelock = lazy_import("filelock")
    requests = lazy_import("requests")
    sqlalchemy = lazy_import("sqlalchemy")
    mlflow_tables = lazy_import("mlflow.store.db.utils")

LOCK_SECONDS = 120.0  # creating the database takes about 2 s; eight processes queue for it
BUSY_SECONDS = 20.0  # how long a locked database is waited for
CONNECT_SECONDS = 5.0


def ensure_database(uri: str) -> str:
    """Make the tracking database at `uri` ready, and return its absolute name.

    A new SQLite database is created with MLflow's tables; an existing one is checked to be a whole, writable MLflow
    database; a server is asked whether it is there. Safe to call from any number of processes at once.

    Raises
    ------
    TrackingError
        The database is locked, read-only, damaged or half-made; the server cannot be reached; the URI is of a kind
        that MLflow 3 does not take.
    """
    uri = absolute_uri(uri)
    path = sqlite_file(uri)
    if path is not None:
        _ensure_sqlite(uri, path)
    elif is_bare_database(uri):
        with filelock.FileLock(lock_file(uri), timeout=LOCK_SECONDS):
            _reach_sql_server(uri)
            _open(uri)
    elif is_server(uri):
        _reach_server(uri)
    return uri


def check_database(uri: str) -> None:
    """Check that the tracking database at `uri` can be had, and make nothing: a refused run leaves none behind.

    Raises
    ------
    TrackingError
        As `ensure_database`.
    """
    uri = absolute_uri(uri)
    path = sqlite_file(uri)
    if path is not None and is_there(uri):
        _check_sqlite(path)
    elif path is not None:
        _check_place(path)
    elif is_bare_database(uri):
        _reach_sql_server(uri)
    elif is_server(uri):
        _reach_server(uri)


def existing_database(uri: str) -> str:
    """Return the absolute name of a tracking database that is there already; looking at one must not make it.

    Raises
    ------
    TrackingError
        There is no such database, or it cannot be used.
    """
    uri = absolute_uri(uri)
    if not is_there(uri):
        raise TrackingError(
            f"There is no tracking database {sqlite_file(uri)}. Go to the folder that you train in, or name the one "
            "that the runs were recorded in: tracking.uri=sqlite:////home/you/mlflow.db, http://host:5000 or "
            "postgresql://user@host/name."
        )
    return ensure_database(uri)


def _ensure_sqlite(uri: str, path: Path) -> None:
    lock = filelock.FileLock(lock_file(uri), timeout=LOCK_SECONDS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock:
            if not is_there(uri):
                with atomic_path(path) as temporary:
                    _create_tables(uri, temporary)
            else:
                _check_sqlite(path)
            _open(uri)
    except filelock.Timeout:
        raise TrackingError(
            f"Another process has been preparing the tracking database {path} for more than {LOCK_SECONDS:.0f} s. If "
            f"none is running, remove {lock.lock_file} and start again."
        ) from None
    except TrackingError:
        raise
    except (OSError, AstroclfError) as error:
        raise _not_created(path, error) from error


def _check_place(path: Path) -> None:
    """Try whether a database file could be made; nothing is left."""
    try:
        try_folder(path.parent)
    except OSError as error:
        raise _not_created(path, error) from error


def _not_created(path: Path, error: Exception) -> TrackingError:
    return TrackingError(
        f"The tracking database {path} cannot be created or written: {error}. Choose a place where you may write "
        "(tracking.uri=sqlite:////home/you/mlflow.db), or switch tracking off with tracking=none."
    )


def _check_sqlite(path: Path) -> None:
    """Take the write lock for an instant: one question that finds a locked, read-only and damaged database."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            revisions = list(database.execute("SELECT * FROM alembic_version")) if "alembic_version" in tables else []
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise TrackingError(
                f"The tracking database {path} has been locked by another process for {BUSY_SECONDS:.0f} s. Wait for "
                "it or end it; where many processes write at once, use a server: tracking.uri=http://… or postgresql://…"
            ) from error
        raise TrackingError(
            f"The tracking database {path} cannot be written: {error}. Check its permissions, or name another with "
            "tracking.uri=sqlite:///other.db."
        ) from error
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            f"{path} is not a readable SQLite database ({error}). Restore it from a copy, or move it away: a new "
            "one is made at the next start."
        ) from error
    if "experiments" in tables and not revisions:
        raise TrackingError(
            f"The tracking database {path} was left half-made: its tables exist, its schema version does not. No run "
            "can be in it; move it away, and a new one is made at the next start."
        )


def _create_tables(uri: str, file: Path) -> None:
    """Make the tables of the database `uri` in a file that will have its name."""
    prepare_environment()
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    try:
        with tracking_errors(uri, "create the tables of"):
            mlflow_tables._initialize_tables(engine)
    finally:
        engine.dispose()


def _open(uri: str) -> None:
    """Let MLflow open the database (kept for this process) and write its default experiment, still under the lock."""
    with tracking_errors(uri, "open the database of"):
        connect(uri).search_experiments(max_results=1)


def _reach_sql_server(uri: str) -> None:
    limits = {"connect_timeout": int(CONNECT_SECONDS)} if scheme_of(uri) in ("postgresql", "mysql") else {}
    with tracking_errors(uri, "reach the database of"):
        try:
            # MLflow itself tries 15 times with growing pauses: ask once before it does.
            engine = sqlalchemy.create_engine(uri, connect_args=limits)
            engine.connect().close()
            engine.dispose()
        except ModuleNotFoundError as error:
            raise TrackingError(
                f"tracking.uri={hide_password(uri)} needs a database driver that is not installed ({error.name}): "
                "install it, for example `pip install 'psycopg[binary]'` for PostgreSQL."
            ) from error


def _reach_server(uri: str) -> None:
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=CONNECT_SECONDS)
    except (requests.RequestException, ValueError) as error:
        reason = "it did not answer" if isinstance(error, requests.Timeout) else "nothing listens there"
        raise TrackingError(
            f"The MLflow server {hide_password(uri)} cannot be reached within {CONNECT_SECONDS:.0f} s: {reason}. Start "
            "it (`mlflow server --host … --port …`), correct tracking.uri, or keep the record in a file: "
            "tracking.uri=sqlite:///mlflow.db."
        ) from error
    if answer.status_code >= 500:
        raise TrackingError(
            f"The MLflow server {hide_password(uri)} is not in order: its health check answered {answer.status_code}. "
            "Look at its log, or keep the record in a file: tracking.uri=sqlite:///mlflow.db."
        )
