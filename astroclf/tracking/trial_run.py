"""A run that is made, read and removed again, by which one learns whether a tracking database takes runs."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import TrackingError
from astroclf.tracking.address import hide_password, is_server, is_there
from astroclf.tracking.client import connect, retry, tracking_errors
from astroclf.tracking.database import check_database, ensure_database
from astroclf.tracking.experiments import ensure_experiment, find_experiment, local_folder, new_location, try_files
from astroclf.tracking.mlflow import MlflowTracker
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from mlflow import cli
else:
    cli = lazy_import("mlflow.cli")

_METRIC = "trial/metric"


@contextmanager
def scratch_experiment(uri: str, artifact_root: str | None) -> Iterator[str]:
    """Make an experiment of a new name for a block, and remove it with its runs and their files.

    A server's clients cannot remove anything for good: there it stays in MLflow's bin until somebody calls `mlflow gc`.
    """
    client, name = connect(uri), f"astroclf-trial-{secrets.token_hex(6)}"
    with tracking_errors(uri, "make an experiment in"), _removed_again(new_location(uri, name, artifact_root)):
        number = ensure_experiment(client, uri, name, artifact_root)
        try:
            yield name
        finally:
            retry(lambda: client.delete_experiment(number))
            if not is_server(uri):
                words = ["--backend-store-uri", uri, "--tracking-uri", uri, "--experiment-ids", number]
                cli.gc.main(words, standalone_mode=False)


@contextmanager
def _removed_again(location: str | None) -> Iterator[None]:
    """Remove after a block what it has made of a folder, and of those above it; a place elsewhere is left alone."""
    folder = local_folder(location) if location is not None else None
    made = [path for path in (folder, *folder.parents) if not path.exists()] if folder is not None else []
    try:
        yield
    finally:
        for path in made[:1]:
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # the first that others use by now ends it
            for path in made[1:]:
                path.rmdir()


def try_run(uri: str, artifact_root: str | None) -> str:
    """Make a run with all that a run has, read it back, and remove it; returns what was tried, in words.

    An SQLite file that is not there yet is not made: whether it could be is all that is tried.

    Raises
    ------
    TrackingError
        The database or server cannot be reached, refuses, or does not return what it was given.
    """
    if not is_there(uri):
        check_database(uri)
        return "is made by the first run"
    ensure_database(uri)
    with scratch_experiment(uri, artifact_root) as experiment, tempfile.TemporaryDirectory() as here:
        sent = Path(here) / "trial.txt"
        sent.write_text("A trial.\n", encoding="utf-8")
        tracker = MlflowTracker(uri, experiment, artifact_root, params={"trial": "parameter"}, tags={"trial": "tag"})
        tracker.log_metrics({_METRIC: 0.5}, step=1)
        tracker.log_artifact(sent)
        tracker.close()
        client = connect(uri)
        with tracking_errors(uri, "read a run from"):
            run = retry(lambda: client.get_run(tracker.run_id))
            read = client.download_artifacts(tracker.run_id, sent.name, str(Path(here) / "read"))
        recorded = (run.info.status, run.data.metrics.get(_METRIC), run.data.params.get("trial"))
        if recorded != ("FINISHED", 0.5, "parameter") or Path(read).read_text(encoding="utf-8") != "A trial.\n":
            raise TrackingError(
                f"MLflow at {hide_password(uri)} does not return the run that it was given: {recorded}. Look "
                "at its log."
            )
    return "a run with a metric and a file, written and read"


def try_files_of(uri: str, experiment: str, artifact_root: str | None) -> str:
    """Try the place of an experiment's files as `try_files` does; returns whether the experiment is there, in words.

    One that is new to a server is not made: another is, and removed.

    Raises
    ------
    TrackingError
        As `try_files`.
    """
    if not is_there(uri):
        try_files(uri, experiment, artifact_root)
        return "of a new experiment"
    with tracking_errors(uri, "look for an experiment in"):
        there = find_experiment(connect(uri), uri, experiment) is not None
    if there:
        try_files(uri, experiment, artifact_root)
        return f"of the experiment {experiment}"
    with scratch_experiment(uri, artifact_root) as scratch:
        try_files(uri, scratch, artifact_root)
    return "of a new experiment"
