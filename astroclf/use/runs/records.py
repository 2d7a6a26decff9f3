"""The runs that there are, from MLflow or from their folders, and the one that a name means."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import yaml

from astroclf.errors import ConfigError, DataError, TrackingError
from astroclf.evaluation.predictions import Predictions, read_predictions
from astroclf.registry.versions import RegisteredModel, registered_names
from astroclf.run.folder import RunFolder
from astroclf.settings.verbs.records import RunsConfig
from astroclf.tracking.address import is_there
from astroclf.tracking.names import PARAM_LENGTH, limited_text, valid_name
from astroclf.tracking.recorded import RunRecord, fetch_artifact, recorded_runs
from astroclf.util.text import flatten, nearest

PREDICTIONS_FILE = "predictions.csv"
SHORTEST_ID = 4  # letters of a run's id that may stand for it


def all_runs(config: RunsConfig) -> list[RunRecord]:
    """Return every run, the newest first: those in MLflow, or those in run folders where there is no database."""
    if config.tracking.uri and is_there(config.tracking.uri):
        return list(recorded_runs(config.tracking.uri))
    folders = sorted(Path(config.folder).glob("*/*/config.yaml"))
    runs = [folder_run(path.parent) for path in folders]
    return sorted(runs, key=lambda run: run.began or datetime.min.astimezone(), reverse=True)


def folder_run(path: Path) -> RunRecord:
    """Return what a run folder says of its run.

    Raises
    ------
    ConfigError
        Its ``config.yaml`` is not that of a run.
    """
    folder = RunFolder(path)
    try:
        config = yaml.safe_load(folder.config_file.read_text(encoding="utf-8"))
        values = flatten(config)
        metrics = folder.metrics() or {}
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no run folder that can be read ({type(error).__name__}: {error}).") from error
    params = {valid_name(key): limited_text(value, PARAM_LENGTH) for key, value in values.items()}
    return RunRecord(
        id=str(metrics.get("run/mlflow_id") or ""),
        name=path.name,
        dataset=str(values.get("dataset.name", "")),
        status="finished" if "test/accuracy" in metrics else "unfinished",
        began=_began(path),
        seconds=metrics.get("run/seconds"),
        metrics={name: value for name, value in metrics.items() if isinstance(value, (int, float))},
        params=params,
        tags={name.removeprefix("run/"): str(value) for name, value in metrics.items() if isinstance(value, str)},
        folder=str(path.absolute()),
    )


def find_run(name: str, runs: Sequence[RunRecord], uri: str | None) -> RunRecord:
    """Return the run that a name means: a run folder, a run's id or its beginning, its name, or a registered model's.

    Raises
    ------
    ConfigError
        None or several have that name; the message says which were probably meant.
    """
    path = Path(name).expanduser()
    if (path / "config.yaml").is_file():
        of_folder = folder_run(path)
        return next((run for run in runs if run.id and run.id == of_folder.id), of_folder)
    wanted = _run_of_model(name, uri) or name.removeprefix("runs:/").partition("/")[0]
    exact = [run for run in runs if wanted in (run.id, run.name, Path(run.folder).name)]
    found = exact or [run for run in runs if len(wanted) >= SHORTEST_ID and run.id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(run.id[:8] or run.folder for run in found[:5])
        raise ConfigError(f"{len(found)} runs are called {name}: {ids}. Name one by its id or its folder.")
    if not runs:
        raise ConfigError(f"There is no run {name}: no run at all is recorded here.")
    known = [*(run.name for run in runs), *(Path(run.folder).name for run in runs), *(run.id[:8] for run in runs)]
    meant = nearest(name, filter(None, known))
    meant = meant if meant.startswith("Did") else "`astroclf runs` lists those that there are."
    raise ConfigError(f"There is no run {name}. {meant}")


def tested_predictions(run: RunRecord, uri: str | None) -> Predictions:
    """Return what a run said of its test images, from its folder or from MLflow.

    Raises
    ------
    DataError, TrackingError
        They are not kept, or cannot be read.
    """
    here = Path(run.folder) / PREDICTIONS_FILE
    if run.folder and here.is_file():
        return read_predictions(here)
    if not run.id or not uri:
        raise DataError(f"The run {run.name} has no {PREDICTIONS_FILE}.")
    with tempfile.TemporaryDirectory() as folder:
        return read_predictions(fetch_artifact(uri, run.id, PREDICTIONS_FILE, folder))


def _run_of_model(name: str, uri: str | None) -> str:
    """Return the id of the run that trained a registered version; empty where the name is not that of a model."""
    if not uri or not is_there(uri):
        return ""
    model, alias, number = _model_parts(name)
    if not name.startswith("models:/") and not alias and model not in registered_names(uri):
        return ""
    registered = RegisteredModel(uri, model)
    version = int(number) if number else registered.holder(alias or "champion")
    if version is None:
        raise TrackingError(f"{model} has no {alias or 'champion'}. `astroclf promote {model}` lists its versions.")
    return registered.version(version).run_id


def _model_parts(name: str) -> tuple[str, str, str]:
    """Split ``models:/name@alias``, ``models:/name/3`` or a bare name into name, alias and number."""
    reference = name.removeprefix("models:/")
    model, _, alias = reference.partition("@")
    if not alias and (match := re.fullmatch(r"(.+)/(\d+)", model)):
        return match[1], "", match[2]
    return model, alias, ""


def _began(path: Path) -> datetime | None:
    """Read when a run began from its folder's name, ``2026-11-21_02-16-10-178ef3``; else from its configuration."""
    try:
        return datetime.strptime(path.name[:19], "%Y-%m-%d_%H-%M-%S").astimezone()
    except ValueError:
        return datetime.fromtimestamp((path / "config.yaml").stat().st_mtime).astimezone()
