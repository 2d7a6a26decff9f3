from __future__ import annotations

import json
import logging
import math
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from astroclf.errors import TrackingError
from astroclf.tracking import client
from astroclf.tracking.client import connect
from astroclf.tracking.mlflow import MlflowTracker
from astroclf.tracking.tracker import RecordedSplit
from astroclf.util import invocation
from astroclf.util.invocation import Command

NewTracker = Callable[..., MlflowTracker]


@pytest.fixture
def new_tracker(database_uri: str, tmp_path: Path) -> NewTracker:
    def make(**options: Any) -> MlflowTracker:
        return MlflowTracker(database_uri, "galaxies", tmp_path / "artifacts", **options)

    return make


def history(tracker: MlflowTracker, name: str) -> list[tuple[int, float]]:
    points = connect(tracker.uri).get_metric_history(tracker.run_id, name)
    return sorted((point.step, point.value) for point in points)


def test_importing_the_package_costs_no_mlflow() -> None:
    code = (
        "import sys, astroclf.tracking, astroclf.tracking.mlflow, astroclf.registry.load;"
        "sys.exit(any(name in sys.modules for name in ('mlflow', 'sqlalchemy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_records_what_was_done_and_how_it_ended(new_tracker: NewTracker, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{}")
    tracker = new_tracker(
        run_name="custom6conv cb_focal",
        params={
            "loss": {"gamma": 2.0, "beta": 0.999},
            "dataset.classes": ["Merging", "Round Smooth"],
            "long": "x" * 9000,
        },
        tags={"git.commit": "abc123"},
    )
    tracker.log_metrics({"val/loss": 1.5, "val/Sb (barred)/accuracy": 0.25}, step=10)
    tracker.log_metrics({"val/loss": math.inf}, step=20)
    tracker.log_artifact(tmp_path / "metrics.json", "results")
    tracker.set_tags({"data.fingerprint": "f00"})
    tracker.close("FINISHED")

    run = connect(tracker.uri).get_run(tracker.run_id)
    assert (run.info.run_name, run.info.status) == ("custom6conv cb_focal", "FINISHED")
    assert run.data.params["loss.gamma"] == "2.0"
    assert run.data.params["dataset.classes"] == '["Merging", "Round Smooth"]'
    assert len(run.data.params["long"]) == 6000
    assert run.data.params["long"].endswith("…")
    assert run.data.tags["git.commit"] == "abc123"
    assert run.data.tags["data.fingerprint"] == "f00"
    assert run.data.metrics["val/Sb _x28_barred_x29_/accuracy"] == 0.25
    assert history(tracker, "val/loss")[0] == (10, 1.5)
    assert math.isnan(history(tracker, "val/loss")[1][1])
    assert history(tracker, "Validation/loss")[0] == (10, 1.5)  # the first of MLflow's charts, which go by their names
    sections = {name.rpartition("/")[0] for name in run.data.metrics if "/" in name}
    assert min(sections) == "Validation"
    assert (tmp_path / "artifacts" / "galaxies" / tracker.run_id / "artifacts" / "results" / "metrics.json").exists()


def test_metrics_wait_for_the_checkpoint_and_none_is_shown_twice_after_a_kill(new_tracker: NewTracker) -> None:
    killed = new_tracker(params={"trainer.epochs": 2, "seed": 1})
    for step in range(1500):  # more than MLflow takes at once
        killed.log_metrics({"train/loss": float(step)}, step)
    checkpoint = killed.state_dict()
    killed.flush()
    killed.log_metrics({"train/loss": -1.0}, 1500)  # after the checkpoint, then kill -9: nothing closes it
    assert len(history(killed, "train/loss")) == 1500

    resumed = new_tracker(run_id=killed.run_id, params={"trainer.epochs": 4, "seed": 1, "new.key": 3})
    resumed.load_state_dict(checkpoint)  # as if the kill had come between checkpoint and flush
    resumed.log_metrics({"train/loss": 1500.0}, 1500)
    resumed.close("FINISHED")

    assert history(resumed, "train/loss") == [(step, float(step)) for step in range(1501)]
    run = connect(resumed.uri).get_run(killed.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"trainer.epochs": "2", "seed": "1", "new.key": "3"}
    assert run.data.tags["resume.changed"] == "trainer.epochs: 2 → 4"


def test_a_run_of_another_database_cannot_be_resumed(new_tracker: NewTracker) -> None:
    with pytest.raises(TrackingError, match=r"has no run 0123.*tracking=none"):
        new_tracker(run_id="0123456789abcdef0123456789abcdef")


def test_a_child_lies_under_its_parent_and_in_its_experiment(new_tracker: NewTracker, database_uri: str) -> None:
    parent = new_tracker()
    child = MlflowTracker(database_uri, "another experiment", parent_run_id=parent.run_id)
    child.close("KILLED")
    run = connect(database_uri).get_run(child.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.info.experiment_id == parent.experiment_id
    assert run.info.status == "KILLED"


def test_a_deleted_experiment_says_how_to_bring_it_back(new_tracker: NewTracker, database_uri: str) -> None:
    tracker = new_tracker()
    connect(database_uri).delete_experiment(tracker.experiment_id)
    with pytest.raises(TrackingError, match="mlflow experiments restore"):
        new_tracker()


def test_a_store_that_fails_in_mid_training_costs_one_warning_and_no_metric(
    new_tracker: NewTracker,
    database_uri: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    tracker = new_tracker()
    database = Path(database_uri.removeprefix("sqlite:///"))
    content = database.read_bytes()
    with caplog.at_level(logging.WARNING, logger="astroclf"):
        database.write_text("a disk that went away " * 1000)
        for step in range(3):
            tracker.log_metrics({"val/loss": float(step)}, step)
            tracker.set_tags({"best.step": step})
            tracker.flush()
        assert len(caplog.records) == 1
        assert "The training goes on" in caplog.text
        database.write_bytes(content)
        tracker.log_metrics({"val/loss": 3.0}, 3)
        tracker.flush()
    assert "answers again" in caplog.records[-1].message
    assert history(tracker, "val/loss") == [(step, float(step)) for step in range(4)]
    assert connect(database_uri).get_run(tracker.run_id).data.tags["best.step"] == "2"
    tracker.close()


def test_what_could_not_be_delivered_at_the_end_is_named(
    new_tracker: NewTracker, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.time, "sleep", lambda seconds: None)
    finished, failed = new_tracker(), new_tracker()
    Path(database_uri.removeprefix("sqlite:///")).write_text("gone " * 1000)
    finished.log_metrics({"train/loss": 1.0}, 1)
    failed.close("FAILED")  # does not hide the error that ended the run
    with pytest.raises(TrackingError, match="lacks 1 metric values, 0 tags, 0 files; the run folder has all of it"):
        finished.close("FINISHED")


def test_a_short_lock_is_waited_for(new_tracker: NewTracker, database_uri: str) -> None:
    tracker = new_tracker()
    holder = sqlite3.connect(database_uri.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.4, lambda: holder.execute("ROLLBACK")).start()
    tracker.log_metrics({"val/loss": 1.0}, 1)
    tracker.flush()
    assert history(tracker, "val/loss") == [(1, 1.0)]
    tracker.close()


def test_system_metrics_go_on_where_they_stopped(new_tracker: NewTracker, database_uri: str) -> None:
    def cpu_steps(run_id: str) -> list[int]:
        return [
            point.step
            for point in connect(database_uri).get_metric_history(run_id, "system/cpu_utilization_percentage")
        ]

    def run_for_a_while(**options: Any) -> str:
        tracker = new_tracker(system_metrics=True, system_metrics_seconds=0.05, **options)
        before = len(cpu_steps(tracker.run_id))
        deadline = time.monotonic() + 10
        while len(cpu_steps(tracker.run_id)) < before + 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        tracker.close()
        return tracker.run_id

    run_id = run_for_a_while()
    first = cpu_steps(run_id)
    run_for_a_while(run_id=run_id)
    steps = cpu_steps(run_id)
    assert len(steps) > len(first) >= 2
    assert sorted(steps) == list(range(len(steps)))


def test_the_load_of_an_nvidia_gpu_is_among_them(new_tracker: NewTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks NVIDIA's library, which is another package; here its answers, as those of a machine with a GPU."""
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": "GPU 0",
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=20e9, total=80e9),
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97),
        "nvmlDeviceGetPowerUsage": 350_000,
        "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(f"pynvml.{name}", lambda *_, answer=answer: answer)
    tracker = new_tracker(system_metrics=True, system_metrics_seconds=0.05)
    deadline = time.monotonic() + 10
    while not history(tracker, "system/gpu_0_utilization_percentage") and time.monotonic() < deadline:
        time.sleep(0.05)
    tracker.close()
    assert history(tracker, "system/gpu_0_utilization_percentage")[0][1] == 97
    assert history(tracker, "system/gpu_0_memory_usage_percentage")[0][1] == 25


def test_the_pages_of_a_run_say_what_it_is(new_tracker: NewTracker) -> None:
    splits = [
        RecordedSplit("galaxies", use, use * 10, "/data/galaxies", {"Sa": 3, "Sb?": 4})
        for use in ("training", "validation", "test")
    ]
    tracker = new_tracker(splits=splits)
    new_tracker(run_id=tracker.run_id, splits=splits)  # resumed, it has them once
    tracker.describe("**ResNet18** on galaxies")
    run = connect(tracker.uri).get_run(tracker.run_id)
    inputs = {each.tags[0].value: each.dataset for each in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation", "test"}
    assert inputs["training"].digest == ("training" * 10)[:36]
    assert json.loads(inputs["test"].profile) == {"images": 7, "classes": {"Sa": 3, "Sb?": 4}}
    assert len(run.inputs.dataset_inputs) == 3
    assert run.data.tags["mlflow.note.content"] == "**ResNet18** on galaxies"
    assert run.data.tags["mlflow.source.type"] == "LOCAL"


@pytest.mark.parametrize("program", ["astroclf pretrain", "python -m astroclf.pretrain", "python -m astroclf pretrain"])
def test_a_run_says_which_verb_made_it(program: str, new_tracker: NewTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocation, "_typed", [Command(program)])
    tracker = new_tracker()
    tags = connect(tracker.uri).get_run(tracker.run_id).data.tags
    assert tags["mlflow.source.name"] == "astroclf pretrain"
