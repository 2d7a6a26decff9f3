"""Experiments, the drawers that MLflow keeps runs in, and the place of their files, which is tried before it is needed.

An experiment keeps the place that its first client gave it. One that is a folder of the first user's machine is of no
use to a second host, which would find out at the end of a training.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import TrackingError
from astroclf.tracking.address import (
    artifact_root,
    hide_password,
    is_bare_database,
    is_loopback,
    is_server,
    is_there,
    sqlite_file,
)
from astroclf.tracking.client import connect, first_line, prepare_environment, retry, tracking_errors
from astroclf.util.disk import try_folder
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient, entities
    from mlflow.store.artifact import artifact_repository_registry as repositories
    from mlflow.utils import file_utils
    from mlflow.utils import uri as uri_utils
else:
    mlflow = lazy_import("mlflow")
    repositories = lazy_import("mlflow.store.artifact.artifact_repository_registry")
    file_utils = lazy_import("mlflow.utils.file_utils")
    uri_utils = lazy_import("mlflow.utils.uri")

_TRIAL_TEXT = "astroclf tried whether files can be written here; this one can be removed.\n"


def ensure_experiment(client: MlflowClient, uri: str, name: str, typed_root: str | Path | None) -> str:
    """Return the id of the experiment `name`; it is made if it is new, by whichever process comes first.

    Parameters
    ----------
    typed_root
        ``tracking.artifact_root``, as for `artifact_root`.

    Raises
    ------
    TrackingError
        An experiment of this name lies in MLflow's bin.
    """
    found = find_experiment(client, uri, name)
    if found is None:
        place = new_location(uri, name, typed_root)
        try:
            made = str(retry(lambda: client.create_experiment(name, place)))
        except mlflow.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = find_experiment(client, uri, name)  # another process made it in between
            assert found is not None
        else:
            folder = local_folder(place) if is_bare_database(uri) and place is not None else None
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)  # by which another host sees that it shares the disk
            return made
    return str(found.experiment_id)


def try_files(uri: str, name: str, typed_root: str | Path | None) -> None:
    """Write a tiny file where the experiment's files go, read it back and remove it.

    Called before anything takes long. Of an SQLite database nothing is made; an experiment that is new to a server is,
    since the server decides only then where its files go.

    Raises
    ------
    TrackingError
        The place cannot be written or read, or is a folder of another host.
    """
    prepare_environment()
    if not is_there(uri):
        location, is_new = new_location(uri, name, typed_root), True
    else:
        client = connect(uri)
        with tracking_errors(uri, "look for an experiment in"):
            found = find_experiment(client, uri, name)
            is_new = found is None
            location = new_location(uri, name, typed_root) if found is None else found.artifact_location
            if location is None:
                number = ensure_experiment(client, uri, name, typed_root)
                location = retry(lambda: client.get_experiment(number)).artifact_location
    assert location is not None
    folder = local_folder(location)
    if folder is not None:
        if not (is_new and typed_root is not None):
            _refuse_foreign(folder, uri, name)
        _try_local(folder)
    else:
        _try_store(location, uri, name)


def _try_local(folder: Path) -> None:
    try:
        try_folder(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise TrackingError(
            f"The folder {folder} for the files of runs cannot be written: {error.filename}: {reason}. Choose another "
            "place, tracking.artifact_root=/home/you/mlartifacts (for a new tracking.experiment), or tracking=none."
        ) from error


def _refuse_foreign(folder: Path, uri: str, name: str) -> None:
    """Refuse a local folder of an experiment that was made where this machine's disk does not reach.

    We make an experiment's folder together with the experiment, so where a database is shared it must be there. A
    server without a store of its own leaves both it and the root above it to the first run; what is there on its own
    host is the folder that the root lies in.
    """
    if sqlite_file(uri) is not None:
        return
    mark = folder
    if is_server(uri):
        mark = folder.parent.parent if is_loopback(uri) else folder.parent
    if not mark.is_dir():
        raise TrackingError(
            f"The experiment {name!r} in {hide_password(uri)} keeps its files in {folder}, and this machine has no "
            f"folder {mark}: others would not find the files. Let the server keep them itself (`mlflow server "
            "--artifacts-destination …`) or share that disk, and choose a new experiment, tracking.experiment=NAME; or "
            "give that a place which all hosts reach, tracking.artifact_root=s3://bucket/runs."
        )


def _try_store(location: str, uri: str, name: str) -> None:
    folder = f"astroclf-trial-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory() as here:
        sent, fetched = Path(here) / "trial.txt", Path(here) / "fetched"
        sent.write_text(_TRIAL_TEXT, encoding="utf-8")
        fetched.mkdir()
        try:
            repository = repositories.get_artifact_repository(location, uri, uri)
            repository.log_artifact(str(sent), folder)
            received = Path(repository.download_artifacts(f"{folder}/{sent.name}", str(fetched)))
            if received.read_text(encoding="utf-8") != _TRIAL_TEXT:
                raise OSError("what was read is not what was written")
            repository.delete_artifacts(folder)
        except Exception as error:  # of whatever package reaches this kind of place
            raise TrackingError(
                f"The files of runs cannot be kept in {hide_password(location)}, where the experiment {name!r} of "
                f"MLflow at {hide_password(uri)} has them: {first_line(error)}. Check that you may read, write and "
                "delete there, or choose a new experiment with another place: tracking.experiment=NAME "
                "tracking.artifact_root=s3://bucket/runs."
            ) from error


def find_experiment(client: MlflowClient, uri: str, name: str) -> entities.Experiment | None:
    """Return an experiment by its name; None where there is none.

    Raises
    ------
    TrackingError
        It lies in MLflow's bin.
    """
    found: entities.Experiment | None = retry(lambda: client.get_experiment_by_name(name))
    if found is not None and found.lifecycle_stage != "active":
        raise TrackingError(
            f"The experiment {name!r} was deleted in MLflow at {hide_password(uri)}. Bring it back with "
            f"`MLFLOW_TRACKING_URI={hide_password(uri)} mlflow experiments restore -x {found.experiment_id}`, or "
            "choose another name: tracking.experiment=…"
        )
    return found


def new_location(uri: str, experiment: str, typed_root: str | Path | None) -> str | None:
    """Name a folder (or bucket prefix) of its own for a new experiment's files; None lets a server choose."""
    root = artifact_root(uri, typed_root)
    folder = re.sub(r"[^\w.\-]+", "_", experiment).strip(".") or "experiment"
    return None if root is None else f"{root.rstrip('/')}/{folder}"


def local_folder(location: str) -> Path | None:
    """Return the folder that a place for files is; None for one on a server or in a bucket."""
    return Path(file_utils.local_file_uri_to_path(location)) if uri_utils.is_local_uri(location) else None
