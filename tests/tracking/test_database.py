from __future__ import annotations

import multiprocessing
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from astroclf.errors import TrackingError
from astroclf.tracking import database
from astroclf.tracking.client import connect
from astroclf.tracking.database import check_database, ensure_database, existing_database
from astroclf.tracking.runs import find_run
from tests.processes import free_port


def write_a_run(barrier: Barrier, uri: str, artifacts: str, number: int) -> None:
    from astroclf.tracking.mlflow import MlflowTracker

    barrier.wait(60)
    tracker = MlflowTracker(uri, "night", artifacts, run_name=f"worker-{number}", params={"number": number})
    tracker.log_metrics({"val/loss": float(number)}, step=1)
    tracker.close("FINISHED")


def test_eight_processes_on_a_fresh_path_all_work(tmp_path: Path) -> None:
    path = tmp_path / "new" / "mlflow.db"
    context = multiprocessing.get_context("forkserver")  # eight real processes that import MLflow only once
    context.set_forkserver_preload(["astroclf.tracking.mlflow", "mlflow.store.tracking.sqlalchemy_store"])
    barrier = context.Barrier(8)
    workers = [
        context.Process(target=write_a_run, args=(barrier, f"sqlite:///{path}", str(tmp_path / "artifacts"), number))
        for number in range(8)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 8
    with closing(sqlite3.connect(path)) as connection:
        runs = connection.execute("SELECT name, status, experiment_id FROM runs ORDER BY name").fetchall()
        metrics = connection.execute("SELECT value FROM metrics WHERE key = 'val/loss' ORDER BY value").fetchall()
    assert [(name, status) for name, status, _ in runs] == [(f"worker-{n}", "FINISHED") for n in range(8)]
    assert len({experiment for _, _, experiment in runs}) == 1
    assert metrics == [(float(n),) for n in range(8)]
    assert not list(path.parent.glob(".*.tmp*"))


def test_an_empty_file_becomes_a_database(made_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        database,
        "_create_tables",
        lambda uri, file: shutil.copy(made_database, file),
    )
    (tmp_path / "mlflow.db").touch()
    ensure_database(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert (tmp_path / "mlflow.db").read_bytes()[:6] == b"SQLite"


def test_a_file_that_is_no_database_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("not a database " * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db is not a readable SQLite database"):
        ensure_database(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_a_half_made_database_is_told_from_a_whole_one(database_uri: str) -> None:
    with sqlite3.connect(database_uri.removeprefix("sqlite:///")) as connection:
        connection.execute("DELETE FROM alembic_version")
    with pytest.raises(TrackingError, match="half-made"):
        ensure_database(database_uri)


def test_a_database_of_another_mlflow_says_which_command_helps(
    database_uri: str,
) -> None:
    with sqlite3.connect(database_uri.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'bbbbbbbbbbbb'")
    with pytest.raises(TrackingError, match="mlflow db upgrade"):
        ensure_database(database_uri)


def test_a_locked_database_is_waited_for_and_then_named(database_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    holder = sqlite3.connect(database_uri.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    with pytest.raises(TrackingError, match="locked by another process"):
        ensure_database(database_uri)
    assert time.monotonic() - started < 5
    holder.execute("ROLLBACK")
    ensure_database(database_uri)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be created.*tracking=none"):
        ensure_database(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")


def test_a_server_that_is_not_there_is_named_within_seconds() -> None:
    port = free_port()
    started = time.monotonic()
    with pytest.raises(TrackingError, match=rf"127\.0\.0\.1:{port} cannot be reached"):
        ensure_database(f"http://127.0.0.1:{port}")
    assert time.monotonic() - started < 6


def test_a_server_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "CONNECT_SECONDS", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(TrackingError, match="did not answer"):
            ensure_database(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_looking_at_a_store_does_not_make_it(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"no tracking database .*other\.db"):
        existing_database(f"sqlite:///{tmp_path / 'other.db'}")
    assert list(tmp_path.iterdir()) == []


def test_checking_a_store_does_not_make_it(tmp_path: Path) -> None:
    check_database(f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []


def test_checking_finds_what_making_would(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=r"mlflow\.db cannot be created.*tracking=none"):
        check_database(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    with pytest.raises(TrackingError, match="not a readable SQLite database"):
        check_database(f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_whoever_only_looks_makes_no_database(tmp_path):
    uri = f"sqlite:///{tmp_path}/new.db"
    assert find_run(uri, {"sweep.key": "night"}, experiment="astroclf") is None
    with pytest.raises(FileNotFoundError):  # MLflow would make it, table by table and without a lock
        connect(uri)
    assert list(tmp_path.iterdir()) == []
