"""Find the files that a model's name means: of a registered version or alias, a run, a folder, a zip, a checkpoint."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.engine.checkpoint import CHECKPOINTS
from astroclf.errors import TrackingError, WeightsError
from astroclf.inference.spec import SPEC_FILE
from astroclf.registry.archive import unpacked
from astroclf.registry.package import RUN_FOLDER_PACKAGE
from astroclf.registry.versions import find_version, known_models
from astroclf.tracking.address import chosen_uri, hide_password
from astroclf.tracking.client import connect, first_line, is_of_mlflow, is_passing, retry, tracking_errors
from astroclf.tracking.database import existing_database
from astroclf.tracking.runs import runs_that_begin
from astroclf.util.lazy import lazy_import
from astroclf.util.text import nearest_path

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

_MLFLOW_PACKAGE = "data"  # where an MLflow model keeps the package
_RUN_ID = re.compile("[0-9a-f]{8,32}")  # whole, or as `astroclf runs` shows it
_RUN_ID_LENGTH = 32
_KINDS = (
    "Name a run folder, a model package, a bundle or a zip of one of them, a checkpoint, models:/name@alias, "
    "models:/name/3 or the id of an MLflow run."
)


@dataclass(frozen=True)
class FoundModel:
    """Where the files of a model are.

    Attributes
    ----------
    name
        What the given name means, for good: of an alias the version, ``models:/galaxy10/3``; of a file its whole path.
    path
        The folder of its package, or a checkpoint.
    """

    name: str
    path: Path


def is_name(text: str) -> bool:
    """Return whether a text can name a model, and no single file of weights: whether there is one, is not looked up."""
    path = Path(text).expanduser()
    in_mlflow = text.startswith(("models:/", "runs:/")) or (_RUN_ID.fullmatch(text) is not None and not path.exists())
    return in_mlflow or path.is_dir() or (path.is_file() and path.suffix.lower() == ".zip")


@contextmanager
def found_model(name: str, uri: str | None) -> Iterator[FoundModel]:
    """Give the files of a model; those that had to be fetched or unpacked are gone afterwards.

    Parameters
    ----------
    name, uri
        As for `registry.load.load`.

    Raises
    ------
    TrackingError
        There is no such model; the message names the nearest, or those that exist.
    WeightsError
        There is no such file or folder, or it holds no model.
    """
    path = Path(name).expanduser()
    if _RUN_ID.fullmatch(name) and not path.exists():
        name = f"runs:/{name}"
    if name.startswith(("models:/", "runs:/")):
        with _of_mlflow(name, uri) as found:
            yield found
    elif path.is_file() and path.suffix.lower() == ".zip":
        with unpacked(path) as folder:
            yield FoundModel(str(path.absolute()), folder)
    else:
        yield FoundModel(str(path.absolute()), path if path.is_file() else _package_in(path))


# ---- in MLflow ------------------------------------------------------------------------------------------------------


@contextmanager
def _of_mlflow(name: str, uri: str | None) -> Iterator[FoundModel]:
    if importlib.util.find_spec("mlflow") is None:
        raise TrackingError(
            f"{name} is in a registry of MLflow, whose client is not installed: `pip install mlflow-skinny` for one on "
            "a server, `pip install mlflow` for one in a file."
        )
    uri = existing_database(chosen_uri(uri))
    client = connect(uri)
    with tempfile.TemporaryDirectory() as scratch:
        with tracking_errors(uri, f"load {name} from"):
            meant, location = (_of_run if name.startswith("runs:/") else _of_registry)(client, name, uri)
            if uri_utils.is_local_uri(location):
                folder = Path(file_utils.local_file_uri_to_path(location))
            else:
                folder = _fetched(meant, location, uri, scratch)
        package = _find_package(folder)
        if package is None:
            raise _gone(name, location, f"no {SPEC_FILE} is there")
        yield FoundModel(meant, package)


def _of_registry(client: MlflowClient, name: str, uri: str) -> tuple[str, str]:
    """Return the version that ``models:/…`` means, and where its files lie."""
    found = find_version(client, name, uri)
    location = str(client.get_model_version_download_uri(found.name, found.version))
    return f"models:/{found.name}/{found.version}", location


def _of_run(client: MlflowClient, name: str, uri: str) -> tuple[str, str]:
    """Return the run that ``runs:/…`` means, by its id or the beginning of it, and where its last model lies."""
    given = name.removeprefix("runs:/").partition("/")[0]
    ids = [given] if len(given) >= _RUN_ID_LENGTH else runs_that_begin(client, given)
    if len(ids) > 1:
        raise TrackingError(f"{len(ids)} runs begin with {given}: {', '.join(ids[:3])}. Give more of the id.")
    try:
        run = retry(lambda: client.get_run(ids[0] if ids else given))
    except mlflow.MlflowException as error:
        raise TrackingError(
            f"There is no run {given} in MLflow at {hide_password(uri)}. `astroclf runs` lists those that there are. "
            f"{known_models(client)}"
        ) from error
    outputs = run.outputs.model_outputs if run.outputs else []
    if not outputs:
        folder = run.data.tags.get("run_folder")
        there = f" Its checkpoints are in {folder}/{CHECKPOINTS}." if folder else ""
        raise TrackingError(
            f"The run {ids[0]} has no model (was it stopped before its end?).{there} {known_models(client)}"
        )
    return f"runs:/{ids[0]}", str(client.get_logged_model(outputs[-1].model_id).artifact_location)


def _fetched(name: str, location: str, uri: str, scratch: str) -> Path:
    try:
        return Path(artifacts.download_artifacts(artifact_uri=location, dst_path=scratch, tracking_uri=uri))
    except Exception as error:
        if is_passing(error) or not is_of_mlflow(error):
            raise
        raise _gone(name, location, first_line(error)) from error


def _gone(name: str, location: str, found: str) -> WeightsError:
    return WeightsError(
        f"The files of {name} cannot be had any more from {location} ({found}). Bring them back from a copy, load "
        "another version, or make another one champion: `astroclf promote NAME VERSION action=champion reason='…'`."
    )


# ---- in folders -----------------------------------------------------------------------------------------------------


def _find_package(folder: Path) -> Path | None:
    """Return the package in the folder of a package, run, MLflow model or bundle; None where there is none."""
    named = (folder, folder / RUN_FOLDER_PACKAGE)
    inside = [path.parent for each in named for path in sorted((each / _MLFLOW_PACKAGE).glob(f"*/{SPEC_FILE}"))]
    return next((candidate for candidate in (*named, *inside) if (candidate / SPEC_FILE).is_file()), None)


def _package_in(folder: Path) -> Path:
    """Return the package in a folder that somebody named."""
    if package := _find_package(folder):
        return package
    if folder.exists():
        checkpoints = folder if folder.name == CHECKPOINTS else folder / CHECKPOINTS
        best = next((name for name in ("best.pt", "last.pt") if (checkpoints / name).is_file()), None)
        until_then = f" Until then, name a checkpoint: {checkpoints / best}." if best else ""
        raise WeightsError(
            f"{folder} holds no model: neither it nor its folder {RUN_FOLDER_PACKAGE}/ has a {SPEC_FILE}. A run gets "
            f"one when its training ends.{until_then}"
        )
    raise WeightsError(f"There is no model {folder}. {_hint(folder)}")


def _hint(path: Path) -> str:
    """Say what somebody may have meant who named a model that is not there."""
    if "@" in path.name:
        return f"A registered model is called models:/{path.name}."
    if close := nearest_path(path):
        return f"Did you mean {close}?"
    return _KINDS
