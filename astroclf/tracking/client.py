"""The one way to MLflow: silent, with short time limits, no global state, and errors that people can act on.

MLflow's names, values, experiments and runs are found and made here; `mlflow` has the tracker, `database` its place.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from astroclf.errors import TrackingError
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient
else:
    mlflow = lazy_import("mlflow")  # read first by `connect`, after `prepare_environment`

T = TypeVar("T")

NAME_LENGTH = 250  # characters that MLflow's tables hold
PARAM_LENGTH = 6000
RUN_TAG_LENGTH = 8000

# What MLflow refuses in the names of parameters, metrics and tags: it reads them as relative paths (a colon is refused
# on Windows and by older servers only). An underscore counts where it would be read as an escape.
_FORBIDDEN = r"[^/\w.\- ]"
_ESCAPED_IN_NAMES = re.compile(
    rf"{_FORBIDDEN}|_(?=x[0-9A-F]+(?:_|{_FORBIDDEN}))|(?:^|(?<=/))/|/$|(?:^|(?<=/))\.(?=\.?(?:/|$))"
)
_NAME_END = 30  # characters that a name keeps of its end when it is cut
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
)
_PACKAGES_BEHIND_MLFLOW = {"mlflow", "sqlalchemy", "requests", "sqlite3", "urllib3", "alembic"}


def prepare_environment() -> None:
    """Set MLflow's environment. Call it before the first ``import mlflow``, which reads it once."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking database and the registry at `uri`, which `ensure_database` has prepared."""
    prepare_environment()
    # MLflow logs a traceback of its own for each error that it also raises; here the raised one is reported.
    logging.getLogger("mlflow.store").setLevel(logging.CRITICAL)
    with tracking_errors(uri):
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


# ---- errors --------------------------------------------------------------------------------------------------------


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


def is_passing(error: BaseException) -> bool:
    """Tell whether an error may go away by itself: a locked database, a server that is restarting."""
    text = f"{getattr(error, 'error_code', '')} {error}"
    return is_of_mlflow(error) and any(sign in text for sign in _SIGNS_OF_A_PASSING_ERROR)


def hide_password(uri: str) -> str:
    """Return ``postgresql://me:secret@host/db`` without the secret, for messages and log files."""
    scheme, separator, rest = uri.partition("://")
    login, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{login.partition(':')[0]}:***@{place}" if at and ":" in login else uri


def is_of_mlflow(error: BaseException) -> bool:
    """Tell whether an error comes from MLflow, from what it stands on, or from files."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _PACKAGES_BEHIND_MLFLOW


def first_line(error: BaseException) -> str:
    """Return the beginning of an error's message, for a sentence that says more."""
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__).rstrip(". ")[:400]


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
    if uri.startswith("http"):
        return (
            "Check that the server runs and that you may use it, or work without it: tracking.uri=sqlite:///mlflow.db "
            "or tracking=none."
        )
    return "Check tracking.uri, or work without a record: tracking=none."


# ---- names and values as MLflow takes them -------------------------------------------------------------------------


def valid_name(name: str) -> str:
    """Return the name itself, or one that MLflow takes and no other name has: with codes for what it refuses.

    >>> valid_name("test/Round Smooth/accuracy"), valid_name("test/Sa?/accuracy")
    ('test/Round Smooth/accuracy', 'test/Sa_x3F_/accuracy')
    """
    written = _ESCAPED_IN_NAMES.sub(lambda found: f"_x{ord(found[0]):X}_", name)
    written = written or "_x5F_"  # which no other name becomes
    if len(written) <= NAME_LENGTH:
        return written
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{written[: NAME_LENGTH - _NAME_END - len(digest) - 2]}_{digest}_{written[-_NAME_END:]}"


def limited_text(value: Any, limit: int) -> str:
    """Return a value as text of at most `limit` characters; where something is cut off, it ends in an ellipsis."""
    if isinstance(value, list | tuple | dict | bool) or value is None:
        text = json.dumps(value, default=str, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


# ---- experiments, the drawers that MLflow keeps runs in, and runs --------------------------------------------------


def ensure_experiment(client: MlflowClient, uri: str, name: str, artifact_root: str | Path | None) -> str:
    """Return the id of the experiment `name`; it is made if it is new, by whichever process comes first.

    Raises
    ------
    TrackingError
        An experiment of this name lies in MLflow's bin.
    """
    found = retry(lambda: client.get_experiment_by_name(name))
    if found is None:
        try:
            place = _artifact_location(artifact_root, name)
            return str(retry(lambda: client.create_experiment(name, place)))
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process made it in between
    if found is None or found.lifecycle_stage != "active":
        number = found.experiment_id if found else "ID"
        raise TrackingError(
            f"The experiment {name!r} was deleted in MLflow at {hide_password(uri)}. Bring it back with "
            f"`MLFLOW_TRACKING_URI={hide_password(uri)} mlflow experiments restore -x {number}`, or choose "
            "another name: tracking.experiment=…"
        )
    return str(found.experiment_id)


def experiment_of_run(client: MlflowClient, uri: str, run_id: str) -> str:
    """Return the id of the experiment in which a run lies.

    Raises
    ------
    TrackingError
        There is no such run here, or it was deleted.
    """
    try:
        run = retry(lambda: client.get_run(run_id))
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(
            f"MLflow at {hide_password(uri)} has no run {run_id}. Was it recorded in another database? Name that one "
            "with tracking.uri=…, or go on without a record: tracking=none."
        ) from error
    if run.info.lifecycle_stage != "active":
        raise TrackingError(
            f"The MLflow run {run_id} was deleted. Bring it back with `MLFLOW_TRACKING_URI={hide_password(uri)} "
            f"mlflow runs restore --run-id {run_id}`, or go on without a record: tracking=none."
        )
    return str(run.info.experiment_id)


def find_run(
    uri: str, tags: Mapping[str, str], experiment: str | None = None, parent_run_id: str | None = None
) -> str | None:
    """Return the id of the run with these tags, the newest if there are several; None where there is none.

    Parameters
    ----------
    experiment, parent_run_id
        Where to look: the experiment's name, or the run that it is a child of.
    """
    client = connect(uri)
    with tracking_errors(uri, "look for a run in"):
        if parent_run_id is not None:
            place = experiment_of_run(client, uri, parent_run_id)
            tags = {"mlflow.parentRunId": parent_run_id, **tags}
        else:
            found = retry(lambda: client.get_experiment_by_name(experiment or ""))
            if found is None:
                return None
            place = str(found.experiment_id)
        conditions = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        runs = retry(lambda: client.search_runs([place], conditions, max_results=1, order_by=["start_time DESC"]))
    return str(runs[0].info.run_id) if runs else None


def log_to_run(uri: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Add points to a run that another process may have open; if the database does not answer, they are lost."""
    client = connect(uri)
    try:
        with tracking_errors(uri, "log metrics to"):
            for name, value in metrics.items():
                retry(partial(client.log_metric, run_id, valid_name(name), float(value), step=step))
    except TrackingError as error:
        log.warning("%s", error)


def _artifact_location(root: str | Path | None, experiment: str) -> str | None:
    """Name a folder (or bucket prefix) of its own for the experiment's files; None lets a server choose."""
    if root is None:
        return None
    folder = re.sub(r"[^\w.\-]+", "_", experiment).strip(".") or "experiment"
    if "://" in str(root):
        return f"{str(root).rstrip('/')}/{folder}"
    return str(Path(root).expanduser().absolute() / folder)
