"""Get a model by any of its names: a registered version or alias, a run, or a folder."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import TrackingError, WeightsError
from astroclf.inference.predictor import Predictor
from astroclf.inference.spec import SPEC_FILE
from astroclf.registry.package import load_package
from astroclf.registry.versions import find_version, known_models
from astroclf.tracking.address import chosen_uri, hide_password
from astroclf.tracking.client import connect, first_line, is_of_mlflow, is_passing, retry, tracking_errors
from astroclf.tracking.database import existing_database
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient, artifacts
    from mlflow.utils import file_utils
    from mlflow.utils import uri as uri_utils
else:
    mlflow = lazy_import("mlflow")
    artifacts = lazy_import("mlflow.artifacts")
    file_utils = lazy_import("mlflow.utils.file_utils")
    uri_utils = lazy_import("mlflow.utils.uri")

RUN_FOLDER_PACKAGE = "model"  # where a run folder keeps its package
_MLFLOW_PACKAGE = "data"  # where an MLflow model keeps it


def load(model: str | Path, uri: str | None = None, device: str = "auto") -> Predictor:
    """Return the predictor of a model, by any of its names. No code that came with the model is run.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/3``, ``runs:/<run id>``, a package folder, a run folder, or the folder
        of a downloaded MLflow model.
    uri
        The tracking database, for the first three; None: ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
    device
        ``auto``: the GPU if there is one.

    Raises
    ------
    TrackingError
        There is no such model; the message names those that exist.
    WeightsError
        The model is damaged, or not one of astroclf's.
    """
    name = str(model)
    if not name.startswith(("models:/", "runs:/")):
        return load_package(_package_in(Path(name)), device)
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError(
            f"{name} is in a registry of MLflow, whose client is not installed: `pip install mlflow-skinny` for one on "
            "a server, `pip install mlflow` for one in a file."
        )
    uri = existing_database(chosen_uri(uri))
    client = connect(uri)
    with tracking_errors(uri, f"load {name} from"):
        location = _place_of_run(client, name, uri) if name.startswith("runs:/") else _place(client, name, uri)
        if uri_utils.is_local_uri(location):
            return _load_files(name, location, Path(file_utils.local_file_uri_to_path(location)), device)
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetched = artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=uri)
            except Exception as error:
                if is_passing(error) or not is_of_mlflow(error):
                    raise
                raise _gone(name, location, first_line(error)) from error
            return _load_files(name, location, Path(fetched), device)


def _load_files(name: str, location: str, folder: Path, device: str) -> Predictor:
    package = _find_package(folder)
    if package is None:
        raise _gone(name, location, f"no {SPEC_FILE} is there")
    return load_package(package, device)


def _gone(name: str, location: str, found: str) -> WeightsError:
    return WeightsError(
        f"The files of {name} cannot be had any more from {location} ({found}). Bring them back from a copy, load "
        "another version, or make another one champion: `astroclf promote NAME VERSION action=champion reason='…'`."
    )


def _place(client: MlflowClient, model: str, uri: str) -> str:
    """Return where the files of ``models:/…`` lie."""
    found = find_version(client, model, uri)
    return str(client.get_model_version_download_uri(found.name, found.version))


def _place_of_run(client: MlflowClient, model: str, uri: str) -> str:
    """Return where the files of the last model of ``runs:/…`` lie."""
    run_id = model.removeprefix("runs:/").partition("/")[0]
    try:
        run = retry(lambda: client.get_run(run_id))
    except mlflow.MlflowException as error:
        raise TrackingError(
            f"There is no run {run_id} in MLflow at {hide_password(uri)}. {known_models(client)}"
        ) from error
    outputs = run.outputs.model_outputs if run.outputs else []
    if not outputs:
        raise TrackingError(f"The run {run_id} has no model (was it stopped before its end?). {known_models(client)}")
    return str(client.get_logged_model(outputs[-1].model_id).artifact_location)


def _find_package(folder: Path) -> Path | None:
    """Return the package in a package folder, run folder or MLflow model folder; None where there is none."""
    inside = sorted(path.parent for path in (folder / _MLFLOW_PACKAGE).glob(f"*/{SPEC_FILE}"))
    candidates = (folder, folder / RUN_FOLDER_PACKAGE, *inside)
    return next((candidate for candidate in candidates if (candidate / SPEC_FILE).is_file()), None)


def _package_in(folder: Path) -> Path:
    """Return the package in a folder that somebody named."""
    if package := _find_package(folder):
        return package
    if folder.exists():
        raise WeightsError(
            f"{folder} holds no model: neither it nor its folder {RUN_FOLDER_PACKAGE}/ has a {SPEC_FILE}. A run gets "
            "one when its training ends."
        )
    raise WeightsError(
        f"There is no model {folder}. Name a run folder, a model package, models:/name@alias, models:/name/3 or runs:/…"
    )
