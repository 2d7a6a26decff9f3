"""The address of a tracking database: which one is meant, what kind it is, and where its files go by default."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from astroclf.errors import TrackingError
from astroclf.util.logs import log

DEFAULT_URI = "sqlite:///mlflow.db"
URI_VARIABLE = "MLFLOW_TRACKING_URI"  # as MLflow's own clients read it

_SQLITE = "sqlite:///"
_SQL_SCHEMES = ("postgresql", "mysql", "mssql")
_SERVER_SCHEMES = ("http", "https")


def chosen_uri(typed: str | None) -> str:
    """Return the absolute name of the database that is meant: the typed one, the environment's, or a file here.

    Raises
    ------
    TrackingError
        As `absolute_uri`.
    """
    if typed is not None:
        return absolute_uri(typed)
    named = os.environ.get(URI_VARIABLE, "").strip()
    return absolute_uri(named, URI_VARIABLE) if named else absolute_uri(DEFAULT_URI)


def said_by_environment(uri: str) -> bool:
    """Tell whether the environment names this database, so that a user who typed nothing is told of it."""
    return bool(os.environ.get(URI_VARIABLE, "").strip()) and uri == chosen_uri(None)


def absolute_uri(uri: str, named_by: str = "tracking.uri") -> str:
    """Return the name of the same database so that it does not depend on the working folder (Hydra changes it).

    Parameters
    ----------
    named_by
        The key or variable that holds `uri`, for messages.

    Raises
    ------
    TrackingError
        A plain folder, an in-memory database, or no URI at all.
    """
    uri = str(uri).strip()
    scheme = scheme_of(uri)
    if scheme == "sqlite":
        path, question, query = uri.removeprefix(_SQLITE).partition("?")
        if not uri.startswith(_SQLITE) or path in ("", ":memory:"):
            raise TrackingError(f"{named_by}={uri} names no database file; write tracking.uri={DEFAULT_URI}.")
        return f"{_SQLITE}{Path(path).expanduser().absolute()}{question}{query}"
    if scheme in (*_SQL_SCHEMES, *_SERVER_SCHEMES, "databricks"):
        return uri
    raise TrackingError(
        f"{named_by}={uri!r} is no tracking database. MLflow 3 takes no plain folder: write tracking.uri={DEFAULT_URI}"
        ", a server (http://host:5000) or a database (postgresql://user@host/name), or switch it off: tracking=none."
    )


def scheme_of(uri: str) -> str:
    """Return the kind of a database: ``postgresql`` of ``postgresql+psycopg2://…``."""
    return uri.partition(":")[0].partition("+")[0].lower()


def is_bare_database(uri: str) -> bool:
    """Tell whether a URI names an SQL server, which several hosts may share and which keeps no files itself."""
    return scheme_of(uri) in _SQL_SCHEMES


def is_server(uri: str) -> bool:
    """Tell whether a URI names an MLflow server."""
    return scheme_of(uri) in _SERVER_SCHEMES


def is_loopback(uri: str) -> bool:
    """Tell whether a server listens on this machine alone (or at the end of a tunnel)."""
    host = urlsplit(uri).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def sqlite_file(uri: str) -> Path | None:
    """Return the file that an absolute ``sqlite:///`` URI names; None for a server's."""
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]) if uri.startswith(_SQLITE) else None


def is_there(uri: str) -> bool:
    """Tell whether the database of an absolute URI is made already; that a server is there is taken for granted."""
    path = sqlite_file(uri)
    return path is None or (path.is_file() and path.stat().st_size > 0)


def lock_file(uri: str, purpose: str = "") -> Path:
    """Return the file by which to lock a database.

    That of an SQLite database lies beside it, for all who share it; that of a server in the machine's folder for
    temporary files.

    Parameters
    ----------
    purpose
        Part of the name, so that two locks of a database do not wait for each other.
    """
    path, ending = sqlite_file(uri), f".{purpose}.lock" if purpose else ".lock"
    if path is not None:
        return path.with_name(path.name + ending)
    return Path(tempfile.gettempdir()) / f"astroclf-{hashlib.sha256(uri.encode()).hexdigest()[:16]}{ending}"


def artifact_root(uri: str, typed: str | Path | None) -> str | None:
    """Return where files of new experiments go: a folder or a bucket; None leaves it to the server.

    Parameters
    ----------
    uri
        An absolute name, see `absolute_uri`.
    typed
        ``tracking.artifact_root``; None where nothing was typed.

    Raises
    ------
    TrackingError
        Nothing was typed, and the database is one that several hosts may share without sharing a disk.
    """
    if typed is not None:
        return str(typed) if "://" in str(typed) else str(Path(typed).expanduser().absolute())
    database = sqlite_file(uri)
    if database is not None:
        return str(database.parent / "experiments" / "mlartifacts")
    if is_bare_database(uri):
        raise TrackingError(
            f"tracking.uri={hide_password(uri)} is a database without a place for files, and several hosts may share "
            "it: say where all of them can read and write, tracking.artifact_root=s3://bucket/runs or a folder on a "
            "shared disk; or put a server before it (`mlflow server --backend-store-uri …`) and type "
            "tracking.uri=http://host:5000."
        )
    return None


def warn_of_password(key: str, uri: str) -> None:
    """Say that a password which was typed is recorded, if an address has one."""
    if hide_password(uri) != uri:
        log.warning(
            "%s=%s holds a password, and what is typed is kept with the run, where others read it. Leave it out: "
            "PostgreSQL's client finds it in ~/.pgpass or PGPASSWORD, MLflow's in MLFLOW_TRACKING_PASSWORD.",
            key, hide_password(uri),
        )  # fmt: skip


def hide_password(uri: str) -> str:
    """Return ``postgresql://me:secret@host/db`` without the secret, for messages and log files."""
    scheme, separator, rest = uri.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{place}" if at and ":" in login else uri
