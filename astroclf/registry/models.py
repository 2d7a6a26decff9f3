"""The model registry: put a package in under a name, get a model out by any of its names.

Aliases such as ``champion`` are not touched here: who deserves one is decided elsewhere.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.errors import TrackingError, WeightsError
from astroclf.tracking.client import connect, hide_password, retry, tracking_errors
from astroclf.tracking.database import ensure_database
from astroclf.tracking.names import text, valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from astroclf.registry.package import Predictor

log = logging.getLogger(__name__)

LOADER_MODULE = "astroclf.registry.package"
RUN_FOLDER_PACKAGE = "model"  # where a run folder keeps its package
_DATA_FOLDER = "data"  # where an MLflow model keeps it
_TAG_LENGTH = 5000
_REQUIREMENTS = ("astroclf", "torch", "torchvision", "numpy", "pandas", "opencv-python-headless")


def register(
    uri: str,
    package_folder: str | Path,
    name: str,
    run_id: str,
    *,
    tags: Mapping[str, Any] | None = None,
    description: str = "",
) -> int:
    """Log a model package under its run and make it the next version of the registered model `name`.

    Parameters
    ----------
    uri
        The tracking store, as for `MlflowTracker`.
    package_folder
        From `astroclf.registry.package.write_package`.
    name
        Registered model, made if it is new.
    run_id
        The run that trained the model.
    tags
        Shown with the version: test metrics, fingerprints, run folder.
    description
        Markdown, shown on the version's page.

    Returns
    -------
    int
        The version: load it as ``models:/name/version``.

    Raises
    ------
    TrackingError
        The store refused, or has no such run.
    """
    from mlflow.entities import LoggedModelOutput

    uri = ensure_database(uri)
    client = connect(uri)
    texts = {valid_name(key): text(value, _TAG_LENGTH) for key, value in (tags or {}).items()}
    with tracking_errors(uri, f"register the model {name!r} in"), tempfile.TemporaryDirectory() as folder:
        run = retry(lambda: client.get_run(run_id))
        for known in retry(lambda: client.search_model_versions(f"run_id='{run_id}'")):
            if known.name == name:  # a run that was stopped just after it had registered its model
                return int(known.version)
        model = retry(
            lambda: client.create_logged_model(
                run.info.experiment_id, name=valid_name(name).replace("/", "_"), source_run_id=run_id, tags=texts
            )
        )
        saved = Path(folder) / "model"
        _save(saved, Path(package_folder), run_id, model.model_id)
        retry(lambda: client.log_model_artifacts(model.model_id, str(saved)))
        retry(lambda: client.finalize_logged_model(model.model_id, "READY"))
        retry(lambda: client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)]))
        _ensure_registered_model(client, name)
        created = retry(
            lambda: client.create_model_version(
                name,
                model.artifact_location,  # models:/<id> would be looked up in MLflow's global store, not in this one
                run_id=run_id,
                tags=texts,
                description=description,
                model_id=model.model_id,
            )
        )
        # What MLflow's own register_model writes, so that the pages of run and model link to the version.
        link = json.dumps([{"name": name, "version": int(created.version)}])
        retry(lambda: client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link}))
    return int(created.version)


def load(model: str | Path, uri: str = "sqlite:///mlflow.db", device: str = "auto") -> Predictor:
    """The predictor of a model, by any of its names. No code that came with the model is run.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/3``, ``runs:/<run id>``, a package folder, a run folder, or the folder
        of a downloaded MLflow model.
    uri
        The tracking store, for the first three.

    Raises
    ------
    TrackingError
        There is no such model; the message names those that exist.
    WeightsError
        The model is damaged, or not one of astroclf's.
    """
    from astroclf.registry.package import load_package

    name = str(model)
    if not name.startswith(("models:/", "runs:/")):
        return load_package(_package_in(Path(name)), device)
    uri = ensure_database(uri)
    client = connect(uri)
    with tracking_errors(uri, f"load {name} from"):
        location = _location_of_run(client, name, uri) if name.startswith("runs:/") else _location(client, name, uri)
        local = _local_path(location)
        if local is not None:
            return load_package(_package_in(local), device)
        with tempfile.TemporaryDirectory() as folder:
            from mlflow.artifacts import download_artifacts

            fetched = download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=uri)
            return load_package(_package_in(Path(fetched)), device)


def find_version(client: MlflowClient, model: str, uri: str) -> ModelVersion:
    """The registered version behind ``models:/name@alias`` or ``models:/name/3``.

    Raises
    ------
    TrackingError
        There is none; the message names what exists.
    """
    from mlflow.exceptions import MlflowException

    reference = model.removeprefix("models:/")
    name, _, alias = reference.partition("@")
    number = ""
    if not alias:
        name, _, number = reference.rpartition("/")
    if not name or not (alias or number.isdigit()):
        raise TrackingError(
            f"{model} names no version of a model: write models:/name@alias or models:/name/3. {_known(client)}"
        )
    try:
        if alias:
            return retry(lambda: client.get_model_version_by_alias(name, alias))
        return retry(lambda: client.get_model_version(name, number))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(f"There is no {model} in the registry at {hide_password(uri)}. {_known(client)}") from error


def _save(folder: Path, package: Path, run_id: str, model_id: str) -> None:
    """An MLflow model around the package. Nothing is inferred: that would load the model and ask pip."""
    import numpy as np
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    from astroclf.registry.package import read_spec

    spec = read_spec(package)
    columns = ["confidence", "uncertainty", *(f"p_{name}" for name in spec["classes"])]
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, int(spec.get("channels", 3))))]),
        outputs=Schema([ColSpec("string", "label"), *(ColSpec("float", column) for column in columns)]),
        params=ParamSchema([ParamSpec("batch_size", "long", 32)]),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*input example was not provided")  # the signature is written out above
        pyfunc.save_model(
            path=str(folder),
            loader_module=LOADER_MODULE,
            data_path=str(package),
            mlflow_model=Model(run_id=run_id, model_uuid=model_id, model_id=model_id),
            signature=signature,
            pip_requirements=_requirements(),
        )


def _requirements() -> list[str]:
    lines = []
    for package in _REQUIREMENTS:
        try:
            lines.append(f"{package}=={version(package).partition('+')[0]}")  # without the +cu130 of a local build
        except PackageNotFoundError:
            lines.append(package)
    return lines


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        retry(lambda: client.create_registered_model(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _location(client: MlflowClient, model: str, uri: str) -> str:
    found = find_version(client, model, uri)
    return str(client.get_model_version_download_uri(found.name, found.version))


def _location_of_run(client: MlflowClient, model: str, uri: str) -> str:
    from mlflow.exceptions import MlflowException

    run_id = model.removeprefix("runs:/").partition("/")[0]
    try:
        run = retry(lambda: client.get_run(run_id))
    except MlflowException as error:
        raise TrackingError(f"There is no run {run_id} in MLflow at {hide_password(uri)}. {_known(client)}") from error
    outputs = run.outputs.model_outputs if run.outputs else []
    if not outputs:
        raise TrackingError(f"The run {run_id} has no model (was it stopped before its end?). {_known(client)}")
    return str(client.get_logged_model(outputs[-1].model_id).artifact_location)


def _known(client: MlflowClient) -> str:
    """A sentence that lists the registered models."""
    models = client.search_registered_models(max_results=20)
    if not models:
        return "No model is registered there yet: every finished training registers one."
    described = []
    for model in models:
        newest = max(
            (int(found.version) for found in client.search_model_versions(f"name = '{model.name}'")), default=0
        )
        aliases = "".join(f", @{alias}" for alias in model.aliases)
        described.append(f"models:/{model.name}/{newest}{aliases}")
    return f"Registered (newest version): {'; '.join(described)}."


def _local_path(location: str) -> Path | None:
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    return Path(local_file_uri_to_path(location)) if is_local_uri(location) else None


def _package_in(folder: Path) -> Path:
    """The package in a package folder, run folder or MLflow model folder."""
    from astroclf.registry.package import SPEC_FILE

    inside = sorted(path.parent for path in (folder / _DATA_FOLDER).glob(f"*/{SPEC_FILE}"))
    for candidate in (folder, folder / RUN_FOLDER_PACKAGE, *inside):
        if (candidate / SPEC_FILE).is_file():
            return candidate
    if folder.exists():
        raise WeightsError(
            f"{folder} holds no model: neither it nor its folder {RUN_FOLDER_PACKAGE}/ has a {SPEC_FILE}. A run gets "
            "one when its training ends."
        )
    raise WeightsError(
        f"There is no model {folder}. Name a run folder, a model package, models:/name@alias, models:/name/3 or runs:/…"
    )
