"""A training is whole whatever becomes of what it prints."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

NAMES = ("星系", "B[e]", "a[bold", "Sa?", "Sa!")
SETTINGS = (
    "dataset.image_size=16",
    "backbone=custom6conv",
    "backbone.dropout=0",
    "trainer.epochs=1",
    "trainer.batch_size=8",
    "trainer.device=cpu",
    "hydra.run.dir=run",
    "tracking=none",
)


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """A folder of classes that have such names, eight images each."""
    random = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for image in range(8):
            pixels = random.normal(40 + 30 * number, 20, (16, 16)).clip(0, 255).astype(np.uint8)
            (tmp_path / "sky" / name / f"{image}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return tmp_path / "sky"


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("PYTHONIOENCODING=ascii {} > printed", marks=pytest.mark.slow),
        pytest.param("set -o pipefail; {} | head -1 > printed", marks=pytest.mark.slow),
        pytest.param(
            "LC_ALL=C PYTHONUTF8=0 {} > /dev/full",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full"),
            ],
        ),
    ],
    ids=["a terminal of ASCII", "a reader that leaves", "a full disk"],
)
def test_a_training_ends_well(
    line: str, sky: Path, tmp_path: Path, shell: Callable[..., subprocess.CompletedProcess]
) -> None:
    done = shell(line.format(shlex.join(["astroclf", "train", "sky", *SETTINGS])))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    log = (tmp_path / "run" / "train.log").read_text(encoding="utf-8")
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"test/{name}/accuracy" in metrics
        assert f"{name} " in log
        assert f">{name}<" in report.replace(" <small", "<small")
    if "ascii" in line:
        printed = (tmp_path / "printed").read_text(encoding="ascii")
        for shown in ("\\u661f\\u7cfb", "B[e]", "a[bold", "Sa?"):
            assert f"|{shown} " in printed
    assert ("No space left on device" in done.stderr) == ("/dev/full" in line)
