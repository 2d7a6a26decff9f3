"""Get a model by any of its names: a registered version or alias, a run, or a folder."""

from __future__ import annotations

import importlib.util
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, overload

from astroclf.errors import TrackingError, WeightsError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.seen import SEEN_FILE
from astroclf.inference.spec import SPEC_FILE
from astroclf.registry.package import SAFETENSORS_FILE, WEIGHTS_FILE, load_package
from astroclf.registry.versions import find_version, known_models
from astroclf.tracking.address import chosen_uri, hide_password
from astroclf.tracking.client import connect, first_line, is_of_mlflow, is_passing, retry, tracking_errors
from astroclf.tracking.database import existing_database
from astroclf.util.lazy import lazy_import
from astroclf.util.text import closest

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
_PACKAGE_FILES = (SPEC_FILE, WEIGHTS_FILE, SAFETENSORS_FILE, SEEN_FILE)
_RUN_ID = re.compile("[0-9a-f]{32}")

# Weights hardly shrink in a zip. One that claims so much more than it holds is made to fill a disk.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 20, 2**26


@overload
def load(model: str | Path, uri: str | None = None, device: str = "auto", precision: str = "auto") -> Predictor: ...


@overload
def load(
    model: Sequence[str | Path], uri: str | None = None, device: str = "auto", precision: str = "auto"
) -> Predictor | Ensemble: ...


def load(
    model: str | Path | Sequence[str | Path],
    uri: str | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Predictor | Ensemble:
    """Return the predictor of a model, by any of its names. No code that came with the model is run.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/3``, an MLflow run id, bare or as ``runs:/<run id>``, a run folder, the
        folder of a package, of a downloaded MLflow model or of a bundle, or a zip of one of these. A list is an
        ensemble; one of a single name is that model.
    uri
        The tracking database, for names in MLflow; None: ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
    device
        ``auto``: the GPU if there is one.
    precision
        Number format of its answers: bf16, fp16, fp32, or ``auto``, the fastest that the device does well.

    Raises
    ------
    TrackingError
        There is no such model; the message names those that exist.
    WeightsError
        The model is damaged, or not one of astroclf's.
    ConfigError
        The models of an ensemble know different classes.
    """
    if not isinstance(model, str | Path):
        members = [load(each, uri, device, precision) for each in model]
        return members[0] if len(members) == 1 else Ensemble(members)
    name = str(model)
    path = Path(name).expanduser()
    if _RUN_ID.fullmatch(name) and not path.exists():
        name = f"runs:/{name}"
    if not name.startswith(("models:/", "runs:/")):
        if path.suffix.lower() == ".zip" and path.is_file():
            with _unpacked(path) as folder:
                return load_package(folder, device, precision)
        return load_package(_package_in(path), device, precision)
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
            return _load_files(name, location, Path(file_utils.local_file_uri_to_path(location)), device, precision)
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetched = artifacts.download_artifacts(artifact_uri=location, dst_path=folder, tracking_uri=uri)
            except Exception as error:
                if is_passing(error) or not is_of_mlflow(error):
                    raise
                raise _gone(name, location, first_line(error)) from error
            return _load_files(name, location, Path(fetched), device, precision)


def _load_files(name: str, location: str, folder: Path, device: str, precision: str) -> Predictor:
    package = _find_package(folder)
    if package is None:
        raise _gone(name, location, f"no {SPEC_FILE} is there")
    return load_package(package, device, precision)


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
    """Return the package in the folder of a package, run, MLflow model or bundle; None where there is none."""
    named = (folder, folder / RUN_FOLDER_PACKAGE)
    inside = [path.parent for each in named for path in sorted((each / _MLFLOW_PACKAGE).glob(f"*/{SPEC_FILE}"))]
    return next((candidate for candidate in (*named, *inside) if (candidate / SPEC_FILE).is_file()), None)


def _package_in(folder: Path) -> Path:
    """Return the package in a folder that somebody named."""
    if package := _find_package(folder):
        return package
    if folder.is_file():
        raise WeightsError(
            f"{folder} is no zip of a model. Name the folder of the run that wrote it, whose {RUN_FOLDER_PACKAGE}/ is "
            "there once its training has ended."
        )
    if folder.exists():
        raise WeightsError(
            f"{folder} holds no model: neither it nor its folder {RUN_FOLDER_PACKAGE}/ has a {SPEC_FILE}. A run gets "
            "one when its training ends."
        )
    raise WeightsError(f"There is no model {folder}. {_hint(folder)}")


def _hint(path: Path) -> str:
    """Say what somebody may have meant who named a model that is not there."""
    if "@" in path.name:
        return f"A registered model is called models:/{path.name}."
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    if close := closest(path.name, beside):
        return f"Did you mean {path.parent / close[0]}?"
    return (
        "Name a run folder, a model package, a bundle or a zip of one of them, models:/name@alias, models:/name/3 or "
        "the id of an MLflow run."
    )


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Give the package in a zip as a folder; only files of a package's names are written, and into no other folder.

    Raises
    ------
    WeightsError
        It is damaged, has no model or several, or claims far more than it holds.
    """
    with tempfile.TemporaryDirectory(prefix="astroclf-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for entry in _entries(path, archive):
                    with archive.open(entry) as content, open(Path(folder) / _name(entry), "wb") as file:
                        shutil.copyfileobj(content, file)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise WeightsError(f"{path} is no zip that can be read: {error}. Fetch it again.") from error
        yield Path(folder)


def _entries(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of the one package in a zip."""
    described = sorted(entry.filename for entry in archive.infolist() if _name(entry) == SPEC_FILE)
    if len(described) != 1:
        found = f"no model: no {SPEC_FILE}, or it was cut off"
        if described:
            found = f"{len(described)} models: {', '.join(described[:4])}"
        raise WeightsError(f"{path} holds {found}. Make a zip of one run's {RUN_FOLDER_PACKAGE}/, or of a bundle.")
    around = PurePosixPath(described[0]).parent
    inside = [each for each in archive.infolist() if PurePosixPath(each.filename).parent == around]
    entries = [entry for entry in inside if _name(entry) in _PACKAGE_FILES]
    if sum(entry.file_size for entry in entries) > _ALWAYS_ALLOWED + _LARGEST_RATIO * path.stat().st_size:
        raise WeightsError(f"{path} claims to hold far more than it can: it is damaged, or made to fill a disk.")
    return entries


def _name(entry: zipfile.ZipInfo) -> str:
    return PurePosixPath(entry.filename).name
