"""Put a model package into the registry: an MLflow model under its run, and the next version of a registered model.

Aliases such as ``champion`` are not touched here: who deserves one is decided by the gate.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.registry.distribution import WHEEL, requirements, write_wheel
from astroclf.registry.package import LOADER_MODULE, read_description
from astroclf.registry.versions import MODEL_TAG_LENGTH
from astroclf.tracking.client import connect, retry, tracking_errors
from astroclf.tracking.database import ensure_database
from astroclf.tracking.names import limited_text, valid_name
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient, entities, models, types
    from mlflow.utils import file_utils
    from mlflow.utils import uri as uri_utils
else:
    mlflow = lazy_import("mlflow")
    entities = lazy_import("mlflow.entities")
    models = lazy_import("mlflow.models")
    types = lazy_import("mlflow.types")
    file_utils = lazy_import("mlflow.utils.file_utils")
    uri_utils = lazy_import("mlflow.utils.uri")

WHEELS = "wheels"  # where a registered model has that of astroclf, as MLflow's own `add_libraries_to_model` names it


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

    A run that registers again, since it was stopped just after it had, gets the version that it has.

    Parameters
    ----------
    uri
        The tracking database, as for `MlflowTracker`.
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
        The database refused, or has no such run.
    """
    uri = ensure_database(uri)
    client = connect(uri)
    texts = {valid_name(key): limited_text(value, MODEL_TAG_LENGTH) for key, value in (tags or {}).items()}
    with tracking_errors(uri, f"register the model {name!r} in"), tempfile.TemporaryDirectory() as folder:
        run = retry(lambda: client.get_run(run_id))
        for known in retry(lambda: client.search_model_versions(f"run_id='{run_id}'")):
            if known.name == name:
                return int(known.version)
        model = retry(
            lambda: client.create_logged_model(
                run.info.experiment_id, name=valid_name(name).replace("/", "_"), source_run_id=run_id, tags=texts
            )
        )
        saved = Path(folder) / "model"
        with _whole_or_gone(client, model):
            save_model(saved, Path(package_folder), run_id, model.model_id)
            retry(lambda: client.log_model_artifacts(model.model_id, str(saved)))
        retry(lambda: client.finalize_logged_model(model.model_id, "READY"))
        retry(lambda: client.log_outputs(run_id, [entities.LoggedModelOutput(model.model_id, step=0)]))
        _ensure_registered_model(client, name)
        created = retry(
            lambda: client.create_model_version(
                name,
                model.artifact_location,  # models:/<id> would be looked up in MLflow's global database, not in this one
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


@contextmanager
def _whole_or_gone(client: MlflowClient, model: entities.LoggedModel) -> Iterator[None]:
    """Take a model back whose files could not all be stored, such as on a full disk: half of one is nobody's."""
    try:
        yield
    except Exception:
        with suppress(Exception):  # the first error is the one to be told
            client.delete_logged_model(model.model_id)
        if uri_utils.is_local_uri(model.artifact_location):
            shutil.rmtree(file_utils.local_file_uri_to_path(model.artifact_location), ignore_errors=True)
        raise


def save_model(folder: Path, package: Path, run_id: str | None = None, model_id: str | None = None) -> None:
    """Lay an MLflow model around the package. Nothing is inferred: that would load the model and ask pip."""
    spec = read_description(package)
    columns = ["confidence", "uncertainty", *(f"p_{name}" for name in spec.classes)]
    texts = ["prediction_set"] if spec.conformal else []
    signature = models.ModelSignature(  # no inputs: `registry.serving` says why
        outputs=types.Schema(
            [
                types.ColSpec("string", "label"),
                *(types.ColSpec("float", column) for column in columns),
                *(types.ColSpec("string", column) for column in [*texts, "error"]),
            ]
        ),
        params=types.ParamSchema([types.ParamSpec("batch_size", "long", 32)]),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*input example was not provided")  # the signature is written out above
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=LOADER_MODULE,
            data_path=str(package),
            mlflow_model=models.Model(run_id=run_id, model_uuid=model_id, model_id=model_id),
            signature=signature,
            # MLflow runs pip in the model's folder, where a path is that of a file of the model.
            pip_requirements=[f"{WHEELS}/{WHEEL}", *requirements()],
        )
    write_wheel(folder / WHEELS)


def _ensure_registered_model(client: MlflowClient, name: str) -> None:
    try:
        retry(lambda: client.create_registered_model(name))
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
