"""A checkpoint is a name of the model that was trained so far."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from astroclf.engine.checkpoint import CheckpointFolder
from astroclf.errors import WeightsError
from astroclf.inference.spec import read_spec
from astroclf.registry.load import load
from tests.tiny import write_tiny_package

SEEN = {"train": np.array([7, 2**63 + 5], np.uint64), "val": np.array([9], np.uint64)}
SHARP = {"calibration": {"temperature": [0.2]}}


@pytest.fixture
def run(tmp_path: Path, tiny_backbone) -> Path:
    """A run folder that has its package, and ``best.pt`` of the same weights, which are the moving average there."""
    run = tmp_path / "run"
    package = write_tiny_package(run / "model", **SHARP)
    weights = torch.load(package / "weights.pt", weights_only=True)
    others = {name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}
    save(run, model=others, ema={"model": weights})
    return run


def save(run: Path, **changes: Any) -> Path:
    """Write ``last.pt`` and ``best.pt`` as the trainer does."""
    spec = read_spec(run / "model").to_plain() | {"calibration": {}, "metrics": {}}
    del spec["weights_sha256"]
    seen = {name: torch.from_numpy(value.view(np.int64)) for name, value in SEEN.items()}
    state = {"train_state": {"step": 12}, "ema": None, "description": {"spec": spec, "seen": seen}, **changes}
    folder = CheckpointFolder(run / "checkpoints", 0)
    folder.folder.mkdir(exist_ok=True)
    folder.save(state, ["best.pt"])
    return folder.best


def said(model: str | Path) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    return load(model, device="cpu").classify(images).probabilities


def test_a_checkpoint_with_the_weights_of_the_package_beside_it_is_that_model(run, caplog):
    with caplog.at_level(logging.INFO, "astroclf"):
        np.testing.assert_array_equal(said(run / "checkpoints" / "best.pt"), said(run))
    assert "its calibration and prediction sets are taken" in caplog.text


def test_the_file_alone_loads_anywhere_with_averaged_weights_and_without_calibration(run, tmp_path, caplog):
    uncalibrated = write_tiny_package(tmp_path / "uncalibrated")
    alone = shutil.copy(run / "checkpoints" / "best.pt", tmp_path / "mine.pt")
    shutil.rmtree(run)
    with caplog.at_level(logging.INFO, "astroclf"):
        model = load(alone, device="cpu")
    assert "of step 12: its probabilities are not calibrated" in caplog.text
    np.testing.assert_array_equal(said(alone), said(uncalibrated))
    for name, digests in SEEN.items():
        np.testing.assert_array_equal(getattr(model.seen, name), digests)


def test_a_checkpoint_of_other_weights_than_the_package_is_its_own_model(run):
    before = said(run)
    weights = torch.load(run / "model" / "weights.pt", weights_only=True)
    trained = {name: value * 9 if value.is_floating_point() else value for name, value in weights.items()}
    assert np.abs(said(save(run, model=trained)) - before).max() > 0.01


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"description": {}}, "written by an earlier astroclf.*Name its run folder"),
        ({"description": {"spec": {}, "seen": {}}}, "is damaged: what it says of its model cannot be read"),
        ({"model": {}}, "do not fit the network that best.pt describes"),
        ({"format": 2}, "is a checkpoint of format 2"),
    ],
)
def test_one_that_says_no_model_is_refused_in_one_paragraph(run, changes, says):
    best = save(run, **{"model": torch.load(run / "model" / "weights.pt", weights_only=True), **changes})
    shutil.rmtree(run / "model")
    with pytest.raises(WeightsError, match=says) as told:
        load(best, device="cpu")
    assert "\n" not in str(told.value)
    assert str(best) in str(told.value)


def test_a_cut_off_checkpoint_is_refused(run):
    best = run / "checkpoints" / "best.pt"
    content = best.read_bytes()
    best.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="neither a checkpoint of a training nor a zip"):
        load(best, device="cpu")


def test_a_run_without_its_model_names_its_checkpoint(run):
    shutil.rmtree(run / "model")
    for folder in (run, run / "checkpoints"):
        with pytest.raises(WeightsError, match=r"Until then, name a checkpoint: .*/checkpoints/best\.pt"):
            load(folder, device="cpu")
