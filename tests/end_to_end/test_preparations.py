"""Two models of one data set that see it differently are compared by the gate, each through its own preparation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

LEVELS = {"faint": 60, "bright": 200, "brilliant": 800}  # of a disc
EACH = 90
SETTINGS = (
    "dataset=folder", "dataset.path=survey", "dataset.test_fraction=0.4", "dataset.near_duplicates=false",
    "augment=none", "backbone=custom6conv", "trainer.batch_size=16", "trainer.device=cpu",
)  # fmt: skip


def write_discs(folder: Path, seed: int = 0) -> None:
    rows, columns = np.indices((40, 40)) - 19.5
    disc = np.hypot(rows, columns) < 12
    rng = np.random.default_rng(seed)
    for name, level in LEVELS.items():
        (folder / name).mkdir(parents=True)
        for number in range(EACH):
            flux = np.where(disc, level, 10) + rng.normal(0, 3, disc.shape)
            fits.writeto(folder / name / f"{number:03d}.fits", flux.astype(np.float32))


@pytest.mark.slow
def test_a_better_stretch_at_another_size_beats_the_champion(train, tmp_path):
    write_discs(tmp_path / "survey")
    # White at 100: bright and brilliant are the same picture.
    blind = ("dataset.tone.interval=limits", "dataset.tone.limits=[0,100]", "dataset.image_size=32")
    seeing = (
        "dataset.tone.interval=limits",
        "dataset.tone.limits=[0,1000]",
        "dataset.image_size=40",
        "dataset.crop=32",
    )
    for preparation, epochs in ((blind, 4), (seeing, 12)):
        done = train(*SETTINGS, *preparation, f"trainer.epochs={epochs}")
        assert done.returncode == 0, done.stderr
    runs = sorted((tmp_path / "experiments" / "runs" / "survey").iterdir())
    first, second = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert first["run/data_fingerprint"] != second["run/data_fingerprint"]
    assert first["run/test_fingerprint"] == second["run/test_fingerprint"]
    assert first["test/accuracy"] < 0.75 < second["test/accuracy"]
    assert (first["run/model"], second["run/model"]) == ("models:/survey/1", "models:/survey/2")
    assert first["run/alias"] == second["run/alias"] == "champion"
    assert "against version 1" in second["run/promotion"]

    elsewhere = tmp_path / "disk" / "survey"
    write_discs(elsewhere, seed=1)
    done = train(*SETTINGS, f"dataset.path={elsewhere}", "dataset.image_size=32")
    assert done.returncode == 1
    assert "The registered model survey is of another data set" in done.stderr
