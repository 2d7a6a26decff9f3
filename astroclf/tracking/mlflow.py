"""One training run as an MLflow run: parameters, tags, curves, files, system metrics, and how it ended."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.errors import TrackingError
from astroclf.tracking.address import hide_password
from astroclf.tracking.client import connect, is_passing, retry, tracking_errors, wait_out
from astroclf.tracking.database import ensure_database
from astroclf.tracking.experiments import ensure_experiment
from astroclf.tracking.names import DIGEST_LENGTH, PARAM_LENGTH, RUN_TAG_LENGTH, limited_text, valid_name
from astroclf.tracking.runs import experiment_of_run
from astroclf.tracking.tensorboard import TensorBoardCurves
from astroclf.tracking.tracker import RecordedSplit, RunStatus
from astroclf.util.invocation import typed_command, user_name
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log
from astroclf.util.text import flatten

if TYPE_CHECKING:
    from mlflow import entities
    from mlflow.system_metrics import system_metrics_monitor
    from torch import nn
else:
    entities = lazy_import("mlflow.entities")
    system_metrics_monitor = lazy_import("mlflow.system_metrics.system_metrics_monitor")

METRICS_PER_BATCH = 1000  # MLflow's limits for one request
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
DATASET_NAME_LENGTH = 500
# MLflow sorts sections of charts by name, capitals first: what one looks for in a run comes twice, to come first.
FIRST_CHARTS = {"val/accuracy": "Validation/accuracy", "val/loss": "Validation/loss"}
_USE_TAG = "mlflow.data.context"


class MlflowTracker:
    """A run in an MLflow database, new or resumed, written without MLflow's global state.

    Metrics are kept back until `flush`. The trainer flushes right after each checkpoint, so an interrupted and resumed
    run shows no point twice: what came after the checkpoint was never sent. What was logged before the checkpoint but
    perhaps not sent before a kill travels inside the checkpoint (`state_dict`), with its time stamps; sent twice,
    MLflow keeps it once. There is no flush by the clock, which would break this.

    A database that stops answering in mid-training does not end the training: it is tried again, warned about once, and
    the metrics, tags and files wait for the next `flush`. Only `close` reports what could not be delivered.

    Parameters
    ----------
    uri
        ``sqlite:///mlflow.db`` (relative paths are made absolute, the file is made if it is new), ``http://host:5000``,
        ``postgresql://…``.
    experiment
        Name of the MLflow experiment, made if it is new. A run with a parent goes into its parent's experiment.
    artifact_root
        Folder or bucket for files, used when the experiment is new; None: as `address.artifact_root` says.
    run_id
        Go on with this run. Parameters are immutable in MLflow: changed ones are named in the tag ``resume.changed``.
    parent_run_id
        The run (a sweep) under which this one is shown.
    params
        Configuration, nested or flat; shown by dotted keys. Values beyond 6,000 characters are cut.
    splits
        What the run learns from and is judged by: MLflow's data sets of the run.
    system_metrics
        Record CPU, memory, disk, network and GPU load every `system_metrics_seconds`; 0: never.
    tensorboard, tensorboard_dir, resume_step
        Whether and where to write curves and histograms, too; see `TensorBoardCurves`.
    patience
        Seconds for which a database that is away is waited for as the run begins and ends.

    Raises
    ------
    TrackingError
        The database cannot be used, or has no such run.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifact_root: str | Path | None = None,
        *,
        run_name: str | None = None,
        run_id: str | None = None,
        parent_run_id: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        splits: Sequence[RecordedSplit] = (),
        system_metrics: bool = False,
        system_metrics_seconds: float = 0.0,
        tensorboard: bool = False,
        tensorboard_dir: str | Path | None = None,
        resume_step: int | None = None,
        patience: float = 0.0,
    ) -> None:
        self._curves = TensorBoardCurves(tensorboard_dir if tensorboard else None, resume_step)
        self._patience = patience
        self.uri = wait_out(lambda: ensure_database(uri), patience)
        self._client = connect(self.uri)
        self._unsent_metrics: list[tuple[str, float, int, int]] = []  # name, value, time in ms, step
        self._unsent_tags: dict[str, str] = {}
        self._unsent_files: list[tuple[str, str]] = []
        self._silent_since_warning = False
        self._closed = False
        self._monitor: system_metrics_monitor.SystemMetricsMonitor | None = None
        run = wait_out(lambda: self._begun(run_id, experiment, artifact_root, run_name, parent_run_id, tags), patience)
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        wait_out(lambda: self._log_beginning(run, params, splits, tags if run_id else {}), patience)
        if system_metrics and system_metrics_seconds:
            self._start_monitor(system_metrics_seconds, resumed=run_id is not None)

    # What the trainer calls -------------------------------------------------------------------------------------------

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep the values for the next `flush`; an infinite value is recorded as NaN (MLflow would store 1.8e308)."""
        self._curves.log_metrics(metrics, step)
        now_ms = time.time_ns() // 1_000_000
        first = {FIRST_CHARTS[name]: value for name, value in metrics.items() if name in FIRST_CHARTS}
        for name, value in {**metrics, **first}.items():
            number = float(value)
            number = number if math.isfinite(number) else math.nan
            self._unsent_metrics.append((valid_name(name), number, now_ms, step))

    def log_histograms(self, model: nn.Module, step: int) -> None:
        """Write the distribution of every weight tensor for TensorBoard; MLflow has no place for it."""
        self._curves.log_histograms(model, step)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy one file, or a folder with all that is in it, to the run's artifacts, below `folder`."""
        path = Path(path).absolute()
        if not path.exists():
            raise FileNotFoundError(path)
        self._unsent_files.append((str(path), folder))
        self._try("log a file to", self._send_files)

    def log_artifacts(self, folder: str | Path, into: str = "") -> None:
        """Copy what is in a folder (not the folder itself) to the run's artifacts, below `into`."""
        for path in sorted(Path(folder).iterdir()):
            self.log_artifact(path, into)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set or replace tags of the run."""
        self._unsent_tags.update(_tag_texts(tags))
        self._try("tag a run in", self._send_unsent_tags)

    def describe(self, markdown: str) -> None:
        """Set or replace the description at the top of the run's page."""
        self.set_tags({"mlflow.note.content": markdown})

    def flush(self) -> None:
        """Send everything that was logged. Called right after each checkpoint; MLflow's errors are warnings."""
        self._curves.flush()
        self._try("log metrics to", self._send_everything)

    def state_dict(self) -> dict[str, Any]:
        """Return what was logged and not sent yet. Part of the checkpoint, and taken before `flush`."""
        return {"unsent_metrics": [list(metric) for metric in self._unsent_metrics]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what an interrupted process may not have sent; MLflow drops what it did."""
        self._unsent_metrics = [
            (str(name), float(value), int(time_ms), int(step))
            for name, value, time_ms, step in state.get("unsent_metrics", ())
        ] + self._unsent_metrics

    def where_to_look(self) -> str:
        """Return one line for the end of a run: how to open it in the browser."""
        # The last words choose MLflow's pages for training: without them its pages for language models open.
        place = f"experiments/{self.experiment_id}/runs/{self.run_id}?workflowType=machine_learning"
        if self.uri.startswith("http"):
            return f"{self.uri.rstrip('/')}/#/{place}"
        uri = shlex.quote(hide_password(self.uri))
        # One process is enough for one reader; MLflow starts four of 300 MB each.
        return f"mlflow ui --workers 1 --backend-store-uri {uri}  # then http://127.0.0.1:5000/#/{place}"

    def close(self, status: RunStatus | None = "FINISHED") -> None:
        """Send what is left and mark the run FINISHED, FAILED or KILLED. A second call does nothing.

        With None neither is done: another process goes on with the run.

        Raises
        ------
        TrackingError
            Something could not be delivered after all retries. Only after status FINISHED: a failed or interrupted
            run already ends with an error of its own, so there it is a warning.
        """
        if self._closed:
            return
        self._closed = True
        if self._monitor is not None:
            self._monitor.finish()
        if status is None:
            self._curves.close()
            return
        self.flush()
        self._curves.close()
        try:
            wait_out(lambda: self._finish(status), self._patience)
        except TrackingError as error:
            message = f"{error} The run {self.run_id} lacks {self._unsent()}; the run folder has all of it."
            if status == "FINISHED":
                raise TrackingError(message) from error
            log.warning(message)

    def _finish(self, status: RunStatus) -> None:
        with tracking_errors(self.uri, "finish the run in"):
            self._send_everything(attempts=4)
            retry(lambda: self._client.set_terminated(self.run_id, status))

    # How it is sent ---------------------------------------------------------------------------------------------------

    def _send_everything(self, attempts: int = 1) -> None:
        while self._unsent_metrics:
            batch = [entities.Metric(*metric) for metric in self._unsent_metrics[:METRICS_PER_BATCH]]
            retry(partial(self._client.log_batch, self.run_id, metrics=batch), attempts)
            del self._unsent_metrics[: len(batch)]
        self._send_unsent_tags(attempts)
        self._send_files(attempts)

    def _send_unsent_tags(self, attempts: int = 1) -> None:
        retry(lambda: self._send_tags(self._unsent_tags), attempts)
        self._unsent_tags.clear()

    def _send_tags(self, tags: Mapping[str, str]) -> None:
        items = [entities.RunTag(name, value) for name, value in tags.items()]
        for start in range(0, len(items), TAGS_PER_BATCH):
            self._client.log_batch(self.run_id, tags=items[start : start + TAGS_PER_BATCH])

    def _send_files(self, attempts: int = 1) -> None:
        while self._unsent_files:
            path, folder = self._unsent_files[0]
            retry(partial(self._client.log_artifact, self.run_id, path, folder or None), attempts)
            del self._unsent_files[0]

    def _try(self, doing: str, send: Callable[[int], None]) -> None:
        """Send; a database that does not answer is warned about once and costs the following calls one attempt each."""
        try:
            with tracking_errors(self.uri, doing):
                send(1 if self._silent_since_warning else 3)
        except TrackingError as error:
            if not self._silent_since_warning:
                hint = (
                    "it will be sent with the next"
                    if error.__cause__ and is_passing(error.__cause__)
                    else "trying again with each"
                )
                said = "%s The training goes on; what was not recorded (%s): %s checkpoint."
                log.warning(said, error, self._unsent(), hint)
            self._silent_since_warning = True
        else:
            if self._silent_since_warning:
                log.warning("MLflow at %s answers again; nothing was lost.", hide_password(self.uri))
            self._silent_since_warning = False

    def _unsent(self) -> str:
        return (
            f"{len(self._unsent_metrics)} metric values, {len(self._unsent_tags)} tags, {len(self._unsent_files)} files"
        )

    # How it begins ----------------------------------------------------------------------------------------------------

    def _begun(
        self,
        run_id: str | None,
        experiment: str,
        artifact_root: str | Path | None,
        run_name: str | None,
        parent_run_id: str | None,
        tags: Mapping[str, Any] | None,
    ) -> entities.Run:
        with tracking_errors(self.uri, "open a run in"):
            if run_id:
                return self._resumed(run_id)
            return self._created(experiment, artifact_root, run_name, parent_run_id, _tag_texts(tags or {}))

    def _log_beginning(
        self,
        run: entities.Run,
        params: Mapping[str, Any] | None,
        splits: Sequence[RecordedSplit],
        tags: Mapping[str, Any] | None,
    ) -> None:
        with tracking_errors(self.uri, "open a run in"):
            self._log_params(flatten(params or {}), known=run.data.params)
            self._log_splits(splits)
            self._send_tags(_tag_texts(tags or {}))

    def _created(
        self,
        experiment: str,
        artifact_root: str | Path | None,
        run_name: str | None,
        parent_run_id: str | None,
        tags: Mapping[str, str],
    ) -> entities.Run:
        verb = typed_command().program.replace(".", " ").rpartition(" ")[2]
        tags = {  # with the run, not after it: whoever looks for a run by its tags finds it however early it was killed
            **tags,
            "mlflow.user": user_name(),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.name": f"astroclf {verb}",  # the tag `command` has all of it
        }
        if parent_run_id:  # a child elsewhere would not be shown under its parent
            experiment_id = experiment_of_run(self._client, self.uri, parent_run_id)
            tags["mlflow.parentRunId"] = parent_run_id
        else:
            experiment_id = ensure_experiment(self._client, self.uri, experiment, artifact_root)
        return retry(lambda: self._client.create_run(experiment_id, tags=tags, run_name=run_name))

    def _resumed(self, run_id: str) -> entities.Run:
        experiment_of_run(self._client, self.uri, run_id)
        retry(lambda: self._client.update_run(run_id, status="RUNNING"))
        return self._client.get_run(run_id)

    def _log_params(self, params: Mapping[str, Any], known: Mapping[str, str]) -> None:
        texts = {valid_name(name): limited_text(value, PARAM_LENGTH) for name, value in params.items()}
        new = [entities.Param(name, value) for name, value in texts.items() if name not in known]
        for start in range(0, len(new), PARAMS_PER_BATCH):
            batch = new[start : start + PARAMS_PER_BATCH]
            retry(partial(self._client.log_batch, self.run_id, params=batch))
        changed = [
            f"{name}: {known[name]} → {value}" for name, value in texts.items() if known.get(name, value) != value
        ]
        if changed:
            self._send_tags(_tag_texts({"resume.changed": "; ".join(changed)}))

    def _log_splits(self, splits: Sequence[RecordedSplit]) -> None:
        inputs = [entities.DatasetInput(_dataset(split), [entities.InputTag(_USE_TAG, split.use)]) for split in splits]
        if inputs:  # those that an earlier start of the run has recorded stay as they are
            retry(lambda: self._client.log_inputs(self.run_id, inputs))

    def _start_monitor(self, seconds: float, resumed: bool) -> None:
        self._monitor = system_metrics_monitor.SystemMetricsMonitor(
            self.run_id, sampling_interval=seconds, resume_logging=resumed, tracking_uri=self.uri
        )
        self._monitor.start()


def _dataset(split: RecordedSplit) -> entities.Dataset:
    counts = dict(split.images_of_class)
    return entities.Dataset(
        name=limited_text(split.dataset, DATASET_NAME_LENGTH),
        digest=split.fingerprint[:DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": split.place}),
        profile=json.dumps({"images": sum(counts.values()), "classes": counts}),
    )


def _tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {valid_name(name): limited_text(value, RUN_TAG_LENGTH) for name, value in tags.items()}
