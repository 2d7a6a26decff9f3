"""Runs as MLflow has recorded them: what each was, how it ended, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import TrackingError
from astroclf.tracking.client import connect, first_line, is_of_mlflow, retry, tracking_errors
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from mlflow import artifacts, entities
else:
    artifacts = lazy_import("mlflow.artifacts")

PAGE_SIZE = 500  # runs that one request asks for
_PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True)
class RunRecord:
    """What is kept of one run.

    Attributes
    ----------
    id
        By which MLflow knows it; empty for one that is known from its folder alone.
    status
        ``finished``, ``failed``, ``killed``, ``running``, or ``unfinished`` where only the folder can tell.
    seconds
        From its beginning to its end; None where either is not known.
    metrics
        With the names of ``metrics.json``.
    params
        The configuration by dotted keys, as text.
    folder
        The run folder; empty where it is not known.
    parent
        The id of the sweep that it is a trial of; empty for any other.
    """

    id: str
    name: str
    dataset: str
    status: str
    began: datetime | None
    seconds: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    parent: str = ""


def recorded_runs(uri: str) -> Iterator[RunRecord]:
    """Yield the runs of astroclf in a database that is there, of all experiments, the newest first.

    Sweeps, which train nothing themselves, are left out; their trials are not.
    """
    client = connect(uri)
    with tracking_errors(uri, "list the runs of"):
        places = [experiment.experiment_id for experiment in retry(client.search_experiments)]
        token = None
        while places:
            page = retry(
                lambda token=token: client.search_runs(  # type: ignore[misc]
                    places, max_results=PAGE_SIZE, order_by=["start_time DESC"], page_token=token
                )
            )
            yield from (_record(run) for run in page if "run_folder" in run.data.tags)
            token = page.token
            if not token:
                return


def fetch_artifact(uri: str, run_id: str, name: str, folder: str | Path) -> Path:
    """Download a file of a run into a folder.

    Raises
    ------
    TrackingError
        The run has no such file (any more).
    """
    try:
        return Path(
            artifacts.download_artifacts(run_id=run_id, artifact_path=name, dst_path=str(folder), tracking_uri=uri)
        )
    except Exception as error:
        if not is_of_mlflow(error):
            raise
        raise TrackingError(f"The {name} of the run {run_id} cannot be had ({first_line(error)}).") from error


def _record(run: entities.Run) -> RunRecord:
    info, tags, params = run.info, run.data.tags, run.data.params
    ended = info.end_time
    return RunRecord(
        id=info.run_id,
        name=info.run_name or "",
        dataset=params.get("dataset.name", ""),
        status=str(info.status).lower(),
        began=datetime.fromtimestamp(info.start_time / 1000, UTC).astimezone(),
        seconds=(ended - info.start_time) / 1000 if ended else None,
        metrics=dict(run.data.metrics),
        params=dict(params),
        tags=dict(tags),
        folder=tags.get("run_folder", ""),
        parent=tags.get(_PARENT_TAG, ""),
    )
