"""Experiments: the drawers that MLflow keeps runs in."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import TrackingError
from astroclf.tracking.client import connect, hide_password, retry, tracking_errors
from astroclf.tracking.names import valid_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def ensure_experiment(client: MlflowClient, uri: str, name: str, artifact_root: str | Path | None) -> str:
    """The id of the experiment `name`; made if it is new, by whichever process comes first.

    Raises
    ------
    TrackingError
        An experiment of this name lies in MLflow's bin.
    """
    from mlflow.exceptions import MlflowException

    found = retry(lambda: client.get_experiment_by_name(name))
    if found is None:
        try:
            place = _artifact_location(artifact_root, name)
            return str(retry(lambda: client.create_experiment(name, place)))
        except MlflowException as error:
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
    """The experiment in which a run lies.

    Raises
    ------
    TrackingError
        There is no such run here, or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = retry(lambda: client.get_run(run_id))
    except MlflowException as error:
        if error.error_code not in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        ):
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
    """The run with these tags, the newest if there are several; None where there is none.

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
    """Add points to a run that another process may have open; a store that does not answer costs no more than them."""
    client = connect(uri)
    try:
        with tracking_errors(uri, "log metrics to"):
            for name, value in metrics.items():
                retry(partial(client.log_metric, run_id, valid_name(name), float(value), step=step))
    except TrackingError as error:
        log.warning("%s", error)


def _artifact_location(root: str | Path | None, experiment: str) -> str | None:
    """A folder (or bucket prefix) of its own for the experiment's files; None lets a server choose."""
    if root is None:
        return None
    folder = re.sub(r"[^\w.\-]+", "_", experiment).strip(".") or "experiment"
    if "://" in str(root):
        return f"{str(root).rstrip('/')}/{folder}"
    return str(Path(root).expanduser().absolute() / folder)
