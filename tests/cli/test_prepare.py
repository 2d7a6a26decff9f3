"""``astroclf prepare``, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def prepare(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess]:
    """Run the command in an empty folder, with a cache of its own beside it."""
    (tmp_path / "here").mkdir()

    def run(*overrides: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "astroclf.prepare", f"dataset.cache_dir={tmp_path / 'cache'}", *overrides]
        return subprocess.run(
            command, cwd=tmp_path / "here", env=clean_environment, capture_output=True, text=True, check=False
        )

    return run


def test_builds_once_says_what_it_holds_and_leaves_nothing_here(prepare, tmp_path):
    sizes = ("dataset.samples=20", "dataset.image_size=16")
    done = prepare(*sizes)
    assert done.returncode == 0, done.stderr
    (store,) = (tmp_path / "cache" / "stores").glob("galaxy10sim-*[0-9a-f]")
    lines = done.stdout.splitlines()
    size = "Preparing 20 images of 16 x 16 x 3: 768 bytes each and 4,096 of a thumbnail, 97.3 kB in all; "
    assert lines.pop(0).startswith(size)  # before it is decoded
    assert lines[0] == "galaxy10_sim: 20 images of 16 x 16 x 3"
    assert "Disturbed 2, Merging 2" in lines[1]
    assert str(store) in lines[3]
    assert store.name.rpartition("-")[2] in lines[4]
    assert "decoded 20 images in" in lines[5]
    assert "images/s" in lines[5]

    again = prepare(*sizes)
    assert again.stdout.splitlines()[:5] == lines[:5]
    assert "was there already" in again.stdout.splitlines()[5]
    assert list((tmp_path / "here").iterdir()) == []


def test_files_that_cannot_be_read_end_it_or_are_left_out(prepare, tmp_path):
    for row in range(4):
        path = tmp_path / "sky" / "star" / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.arange(16 * 16, dtype=np.uint8).reshape(16, 16) + np.uint8(row)).save(path)
    path.write_bytes(b"")
    data = ("dataset=folder", f"dataset.path={tmp_path / 'sky'}", "dataset.image_size=16")
    refused = prepare(*data)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("dataset.on_error=skip.")
    assert "Traceback" not in refused.stderr
    skipped = prepare(*data, "dataset.on_error=skip")
    assert skipped.returncode == 0
    assert "star/3.png: the file is empty" in skipped.stdout
    assert "3 images of 16 x 16 x 3\n" in skipped.stdout
    assert skipped.stdout.endswith("3 images read; left out: 1 without a usable image.\n")
    assert (tmp_path / "here").is_dir()
    assert list((tmp_path / "here").iterdir()) == []


def test_a_wrong_key_names_the_right_one(typed):
    done = typed("astroclf prepare wrkers=2")
    assert done.returncode == 1
    assert "Did you mean 'trainer.num_workers'?" in done.stderr


def test_no_threads_is_no_number_of_threads(typed):
    done = typed("astroclf prepare trainer.num_workers=0")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("'trainer.num_workers' is 0; it must be at least 1.")
