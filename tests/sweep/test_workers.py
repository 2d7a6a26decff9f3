"""Worker processes: they end with their pool, whatever they were last heard of doing; one GPU each, in turn."""

from __future__ import annotations

import os
import time
from multiprocessing.connection import Connection

import pytest

from astroclf.sweep import workers
from astroclf.sweep.workers import WorkerPool


def answer_until_closed(connection: Connection, plan: bytes, number: int, count: int) -> None:
    """A worker without any work."""
    while True:
        try:
            connection.recv()
        except (EOFError, OSError):
            return
        connection.send(("done", number))


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(workers, "work", answer_until_closed)
    monkeypatch.setattr(workers, "GRACE_SECONDS", 30.0)


def test_a_worker_whose_last_answer_nobody_heard_ends_by_itself(quick, tmp_path):
    with WorkerPool(1, b"", tmp_path) as pool:
        (worker,) = pool.workers
        worker.send("trials")
        while not worker.connection.poll():
            time.sleep(0.05)
    assert worker.busy
    assert worker.process.exitcode == 0  # not killed after a long wait


def test_workers_that_were_started_end_where_another_cannot_be(quick, monkeypatch, tmp_path):
    started = []

    def start_one(pool, number):
        if number == 1:
            raise KeyboardInterrupt
        started.append(workers.WorkerProcess(pool.plan, pool.folder, number, pool.count))
        return started[-1]

    monkeypatch.setattr(WorkerPool, "_start", start_one)
    with pytest.raises(KeyboardInterrupt), WorkerPool(2, b"", tmp_path):
        pass
    assert not is_alive(started[0].process.pid)


@pytest.mark.parametrize(
    ("visible", "listed", "number", "seen"),
    [
        ("0,1,2", [], 0, "0"),
        ("0,1,2", [], 4, "1"),
        ("GPU-aa,GPU-bb", [], 1, "GPU-bb"),
        (None, ["0", "1"], 3, "1"),
        (None, ["0"], 5, "0"),
        (None, [], 2, None),
        ("", ["0"], 1, ""),
    ],
)
def test_workers_are_given_gpus_in_turn(monkeypatch, visible, listed, number, seen):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(workers, "_gpus", lambda: listed)
    workers._bind_device(number)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
