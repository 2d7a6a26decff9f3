"""Worker processes: they end with their pool, whatever they were last heard of doing."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from astroclf.errors import SweepError
from astroclf.sweep import pool as pool_module
from astroclf.sweep import process as process_module
from astroclf.sweep.pool import WorkerPool
from astroclf.sweep.process import WorkerProcess


def answer_until_closed(connection: Connection, plan: bytes, number: int, count: int, key: str) -> None:
    """A worker without any work."""
    while True:
        try:
            connection.recv()
        except (EOFError, OSError):
            return
        connection.send(("done", number))


def die_at_commands(connection: Connection, plan: bytes, number: int, count: int, key: str) -> None:
    """A worker that is killed by its first commands: by as many, in all processes, as the plan says."""
    kills, folder = plan.decode().split(maxsplit=1)
    connection.recv()
    killed = Path(folder, "killed.txt")
    before = killed.read_text() if killed.exists() else ""
    if len(before) < int(kills):
        killed.write_text(before + "x")
        os.kill(os.getpid(), signal.SIGKILL)
    connection.send(("done", "tested"))


def pool_of(count: int, plan: bytes, folder: Path) -> WorkerPool:
    return WorkerPool(count, lambda number: WorkerProcess(plan, folder, number, count, f"key {number}"))


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(process_module, "work", answer_until_closed)
    monkeypatch.setattr(pool_module, "GRACE_SECONDS", 30.0)


def test_a_worker_whose_last_answer_nobody_heard_ends_by_itself(quick, tmp_path):
    with pool_of(1, b"", tmp_path) as pool:
        (worker,) = pool.workers
        worker.send("trials")
        while not worker.connection.poll():
            time.sleep(0.05)
    assert worker.busy
    assert worker.process.exitcode == 0  # not killed after a long wait


def test_workers_that_were_started_end_where_another_cannot_be(quick, tmp_path):
    started = []

    def start_one(number):
        if number == 1:
            raise KeyboardInterrupt
        started.append(WorkerProcess(b"", tmp_path, number, 2, "key"))
        return started[-1]

    with pytest.raises(KeyboardInterrupt), WorkerPool(2, start_one):
        pass
    assert not is_alive(started[0].process.pid)


def test_a_command_whose_worker_was_killed_is_given_to_another(monkeypatch, tmp_path):
    monkeypatch.setattr(process_module, "work", die_at_commands)
    with pool_of(1, f"1 {tmp_path}".encode(), tmp_path) as pool:
        assert pool.run([("test", "best")]) == ["tested"]
    (tmp_path / "killed.txt").unlink()
    with (
        pool_of(1, f"2 {tmp_path}".encode(), tmp_path) as pool,
        pytest.raises(SweepError, match="ended unexpectedly"),
    ):
        pool.run([("test", "best")])
