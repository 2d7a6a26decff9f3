"""The real commands, on a few dozen simulated 32-px images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = (
    "dataset.samples=140",
    "dataset.image_size=32",
    "backbone=custom6conv",
    "trainer.batch_size=16",
    "trainer.device=cpu",
    "trainer.precision=fp32",  # for layers of one pixel, bf16 is the slower one
)


def only_run(folder: Path) -> Path:
    """Return the only run folder below a place where commands were typed."""
    (run,) = (folder / "experiments" / "runs").glob("*/*")
    return run


@pytest.fixture
def start(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., subprocess.Popen]:
    """Start ``python -m astroclf.train`` with these overrides in a folder of its own."""

    def start_train(*overrides: str, folder: Path = tmp_path) -> subprocess.Popen:
        command = [sys.executable, "-m", "astroclf.train", *overrides]
        return subprocess.Popen(
            command, cwd=folder, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start_train


@pytest.fixture
def train(start: Callable[..., subprocess.Popen]) -> Callable[..., subprocess.CompletedProcess]:
    """Run ``python -m astroclf.train`` to its end."""

    def run_train(*overrides: str, **options) -> subprocess.CompletedProcess:
        process = start(*overrides, **options)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run_train
