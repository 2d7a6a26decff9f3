"""A worker process: one GPU each, in turn."""

from __future__ import annotations

import os

import pytest

from astroclf.sweep import worker


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
    monkeypatch.setattr(worker, "_gpus", lambda: listed)
    worker._bind_device(number)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
