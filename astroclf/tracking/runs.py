"""Runs that other processes opened: found by their tags, and written to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from astroclf.errors import TrackingError
from astroclf.tracking.address import hide_password, is_there
from astroclf.tracking.client import connect, retry, tracking_errors
from astroclf.tracking.names import PARAM_LENGTH, limited_text, valid_name
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log
from astroclf.util.text import flatten

if TYPE_CHECKING:
    import mlflow
    from mlflow import MlflowClient
else:
    mlflow = lazy_import("mlflow")


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
    if not is_there(uri):
        return None
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


def changed_params(uri: str, run_id: str, params: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List the parameters whose values differ from those of a run: each with the run's value and the given one.

    Parameters
    ----------
    params
        Nested or flat, as a tracker is given them.

    Raises
    ------
    TrackingError
        There is no such run, or the database does not answer.
    """
    client = connect(uri)
    with tracking_errors(uri, "read a run of"):
        experiment_of_run(client, uri, run_id)
        theirs = dict(retry(lambda: client.get_run(run_id)).data.params)
    ours = {valid_name(name): limited_text(value, PARAM_LENGTH) for name, value in flatten(params).items()}
    keys = dict.fromkeys([*ours, *theirs])
    return [(key, theirs.get(key, ""), ours.get(key, "")) for key in keys if theirs.get(key) != ours.get(key)]


def log_to_run(uri: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Add points to a run that another process may have open; if the database does not answer, they are lost."""
    client = connect(uri)
    try:
        with tracking_errors(uri, "log metrics to"):
            for name, value in metrics.items():
                retry(partial(client.log_metric, run_id, valid_name(name), float(value), step=step))
    except TrackingError as error:
        log.warning("%s", error)


def runs_that_begin(client: MlflowClient, beginning: str) -> list[str]:
    """Return the ids of the runs, of all experiments, that begin with these hexadecimal digits."""
    places = [experiment.experiment_id for experiment in retry(client.search_experiments)]
    if not beginning.isalnum() or not places:
        return []
    found = retry(lambda: client.search_runs(places, f"attributes.run_id LIKE '{beginning}%'", max_results=10))
    return [str(run.info.run_id) for run in found]
