"""A real MLflow server that keeps the files, and clients with a working folder and a disk of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import astroclf
from astroclf.errors import TrackingError
from astroclf.registry.permission import try_registry
from astroclf.tracking.client import connect
from astroclf.tracking.experiments import try_files
from astroclf.tracking.mlflow import MlflowTracker
from tests.processes import free_port

pytestmark = pytest.mark.slow

SMALL = (
    "dataset.samples=140", "dataset.image_size=32", "backbone=custom6conv", "trainer.batch_size=16",
    "trainer.device=cpu", "trainer.epochs=1", "tracking.system_metrics=false",
)  # fmt: skip


def serve(folder: Path, environment: dict[str, str], *options: str) -> tuple[subprocess.Popen, str]:
    """Start a server whose database and files lie in `folder`, and return it with its address."""
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", *options]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=2).ok:
                return process, f"http://127.0.0.1:{port}"
        except requests.RequestException:
            time.sleep(0.2)
    raise AssertionError((folder / "server.log").read_text()[-2000:])


def stop(process: subprocess.Popen) -> None:
    os.killpg(process.pid, 15)
    process.wait(30)


@pytest.fixture
def server(tmp_path: Path, clean_environment: dict[str, str]) -> Iterator[str]:
    """A server that takes files from its clients and keeps them itself."""
    options = ("--serve-artifacts", "--artifacts-destination", str(tmp_path / "server" / "files"))
    process, uri = serve(tmp_path / "server", clean_environment, *options)
    yield uri
    stop(process)


def test_two_clients_without_a_common_disk_share_runs_files_and_models(
    server: str, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    client, runs = connect(server), []
    for number, host in enumerate(("first", "second")):
        folder = tmp_path / host
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "astroclf", "train", *SMALL, f"seed={number}"],
            cwd=folder, env=clean_environment | {"MLFLOW_TRACKING_URI": server}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"Recorded in MLflow at {server}, as MLFLOW_TRACKING_URI says." in done.stdout
        assert [path.name for path in folder.iterdir()] == ["experiments"]
        assert [path.name for path in (folder / "experiments").iterdir()] == ["runs"]
        (metrics,) = (folder / "experiments" / "runs").glob("*/*/metrics.json")
        runs.append(json.loads(metrics.read_text())["run/mlflow_id"])
        if host == "first":  # by hand: it was tested on too few images for the gate to make it champion
            client.set_registered_model_alias("galaxy10_sim", "champion", "1")
        folder.rename(tmp_path / f"{host} is out of reach")

    experiment = client.get_experiment_by_name("astroclf")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    for run_id in runs:
        assert client.get_run(run_id).info.status == "FINISHED"
        files = {file.path for file in client.list_artifacts(run_id)}
        assert {"config.yaml", "metrics.json", "report.html", "predictions.csv", "plots"} <= files
        fetched = client.download_artifacts(run_id, "metrics.json", str(tmp_path))
        assert json.loads(Path(fetched).read_text())["run/mlflow_id"] == run_id
    for version in (1, 2):
        assert len(astroclf.load(f"models:/galaxy10_sim/{version}", server, "cpu").classes) == 10
        tags = client.get_model_version("galaxy10_sim", str(version)).tags
        assert tags["promotion.decision"] in ("champion", "challenger")
    # The second was compared image by image with the first, whose predictions came from the server.
    assert "version 1" in client.get_model_version("galaxy10_sim", "2").description
    assert "cannot be compared" not in client.get_model_version("galaxy10_sim", "2").description
    assert [model.name for model in client.search_registered_models()] == ["galaxy10_sim"]
    assert not [path for path in (tmp_path / "server" / "files").rglob("*trial*")]


def test_files_on_the_disk_of_another_host_are_refused_at_the_start(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    home = tmp_path / "home of somebody"
    home.mkdir()
    process, uri = serve(
        tmp_path / "server", clean_environment, "--no-serve-artifacts", "--default-artifact-root", str(home / "mlruns")
    )
    try:
        try_files(uri, "galaxies", None)  # on the server's own host
        MlflowTracker(uri, "galaxies").close()
        home.rename(tmp_path / "is not on this host")
        for experiment in ("galaxies", "a new one"):
            with pytest.raises(TrackingError, match="this machine has no folder"):
                try_files(uri, experiment, None)
        assert not home.exists()
    finally:
        stop(process)


def test_a_place_for_files_that_cannot_be_written_is_found_at_the_start(server: str, tmp_path: Path) -> None:
    try_files(server, "galaxies", None)
    try_registry(server, "galaxies")
    files = tmp_path / "server" / "files"
    assert not [path for path in files.rglob("*") if path.is_file()]
    assert connect(server).search_registered_models() == []
    for folder in files.iterdir():
        folder.rename(tmp_path / "moved")
        folder.write_text("no folder any more")
    with pytest.raises(TrackingError, match=r"cannot be kept in mlflow-artifacts:.*tracking\.artifact_root"):
        try_files(server, "galaxies", None)
