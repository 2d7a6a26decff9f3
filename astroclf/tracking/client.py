"""The one way to MLflow: silent, with short time limits, no global state, and errors that people can act on."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from astroclf.errors import TrackingError
from astroclf.tracking.address import hide_password, is_there
from astroclf.util.disk import why_refused
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient
else:
    mlflow = lazy_import("mlflow")  # read first by `connect`, after `prepare_environment`

T = TypeVar("T")

# How long a sweep waits for a study's database or MLflow that went away: a restart, a network that is cut. A single run
# does not.
AWAY_SECONDS = 600.0
NEXT_TRY_SECONDS = 2.0

_ENVIRONMENT = {  # what the user has set in the environment wins
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds; MLflow's own 120 s times 7 retries is half an hour of silence
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a model's requirements are astroclf's, not those of the folder one stands in
    "GIT_PYTHON_REFRESH": "quiet",  # a machine without git is no reason to complain
}
_SIGNS_OF_A_PASSING_ERROR = (
    "database is locked",
    "database table is locked",
    "TEMPORARILY_UNAVAILABLE",
    "Connection",
    "timed out",
    "timeout expired",
    "server closed the connection",
    "terminating connection",
    "starting up",  # PostgreSQL
    "shutting down",
)
_PACKAGES_BEHIND_MLFLOW = {"mlflow", "sqlalchemy", "requests", "sqlite3", "urllib3", "alembic"}


def prepare_environment() -> None:
    """Set MLflow's environment. Call it before the first ``import mlflow``, which reads it once."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking database and the registry at `uri`.

    Raises
    ------
    FileNotFoundError
        `ensure_database` has not made it: MLflow would, where two processes at once break it for good.
    """
    if not is_there(uri):
        raise FileNotFoundError(uri)
    prepare_environment()
    # MLflow logs a traceback of its own for each error that it also raises; here the raised one is reported.
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)
    with tracking_errors(uri):
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def tracking_errors(uri: str, doing: str = "talk to") -> Iterator[None]:
    """Turn what MLflow, SQLAlchemy and requests raise inside the block into one TrackingError."""
    try:
        yield
    except TrackingError:
        raise
    except Exception as error:
        if not is_of_mlflow(error):
            raise
        raise TrackingError(
            f"Could not {doing} MLflow at {hide_password(uri)}: {first_line(error)}. {_remedy(error, uri)}"
        ) from error


def retry(action: Callable[[], T], attempts: int = 4, first_wait_seconds: float = 0.25) -> T:
    """Call `action`, again after a growing pause when the database was locked or the server did not answer."""
    for attempt in range(attempts):
        try:
            return action()
        except Exception as error:
            if attempt == attempts - 1 or not is_passing(error):
                raise
            log.debug("MLflow did not answer (%s); trying again", first_line(error))
            time.sleep(first_wait_seconds * 2**attempt)
    raise AssertionError("unreachable")


def wait_out(action: Callable[[], T], seconds: float) -> T:
    """Call `action`, again for so many seconds while the database or the server is away, which is said once."""
    end, is_told = time.monotonic() + seconds, False
    while True:
        try:
            return action()
        except TrackingError as error:
            if time.monotonic() >= end or error.__cause__ is None or not is_passing(error.__cause__):
                raise
            if not is_told:
                log.warning("%s It is waited for, up to %.0f minutes.", error, seconds / 60)
                is_told = True
            time.sleep(NEXT_TRY_SECONDS)


def is_passing(error: BaseException) -> bool:
    """Tell whether an error may go away by itself: a locked database, a server that is restarting."""
    text = f"{getattr(error, 'error_code', '')} {error}"
    return is_of_mlflow(error) and any(sign in text for sign in _SIGNS_OF_A_PASSING_ERROR)


def is_of_mlflow(error: BaseException) -> bool:
    """Tell whether an error comes from MLflow, from what it stands on, or from files."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _PACKAGES_BEHIND_MLFLOW


def first_line(error: BaseException) -> str:
    """Return the beginning of an error's message, for a sentence that says more."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(". :")[:400]


def _remedy(error: BaseException, uri: str) -> str:
    text = str(error)
    if "out-of-date database schema" in text:
        return (
            f"It was written by another MLflow: copy the database, then run `mlflow db upgrade {hide_password(uri)}`."
        )
    if "Can't locate revision" in text:
        return "It was written by a newer MLflow than the one installed: upgrade mlflow, or name another tracking.uri."
    if "locked" in text:
        return (
            "Another process holds the database: wait for it, or give many writers a server "
            "(tracking.uri=http://… or postgresql://…)."
        )
    if why_refused(error):
        return "Free some space there, or name another place: tracking.uri, tracking.artifact_root."
    if uri.startswith("http"):
        return (
            "Check that the server runs and that you may use it, or work without it: tracking.uri=sqlite:///mlflow.db "
            "or tracking=none."
        )
    return "Check tracking.uri, or work without a record: tracking=none."
