"""A run that dies at any file operation from its first to its last: it goes on, and ends as if it had not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from astroclf.engine.checkpoint import load_checkpoint
from astroclf.errors import CheckpointError
from astroclf.run.build import ProcessCache, TrialContext
from astroclf.run.folder import RunFolder
from astroclf.run.train import fit, train
from astroclf.settings.config import Config
from tests.config.test_validate import config
from tests.engine.test_trainer import assert_equal_states
from tests.faults import DEAD, die_at, in_fresh_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("single_threaded"),
]
RUN = (
    "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu", "trainer.epochs=2",
    "trainer.batch_size=16", "trainer.ema_decay=0.9", "trainer.num_workers=1", "tracking=none",
)  # fmt: skip
COMMAND = "astroclf train"


def outcome(folder: Path) -> dict[str, Any]:
    """Everything that a run says, but for its clocks, names and the memory of the process that it runs in."""
    state = load_checkpoint(folder / "checkpoints" / "last.pt")
    metrics = json.loads((folder / "metrics.json").read_text())
    own = {
        "train/images_per_second", "train/data_wait_fraction", "train/seconds", "train/validation_seconds",
        "run/seconds", "run/setup_seconds", "run/test_seconds", "run/mlflow_id", "run/process_memory_peak_gb",
    }  # fmt: skip
    files = ("history.csv", "predictions.csv")
    return {
        "state": {name: value for name, value in state.items() if name not in ("tracker", "seconds")},
        "metrics": {name: value for name, value in metrics.items() if name not in own},
        "files": {name: (folder / name).read_bytes() for name in files if (folder / name).is_file()},
        "names": {str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".lock"},
    }


def begin(asked: Config, folder: RunFolder, cache: ProcessCache, whole_run: bool) -> Any:
    if whole_run:
        return train(asked, folder, COMMAND, cache)
    return fit(asked, folder, COMMAND, cache, TrialContext())


def die(asked: Config, folder: Path, whole_run: bool, number: int) -> None:
    """Begin a run whose data are decoded, and die at this operation."""
    cache = ProcessCache()
    cache.data(asked)
    die_at(number, folder)
    begin(asked, RunFolder.new(folder), cache, whole_run)


def count(asked: Config, folder: Path, whole_run: bool, counted: Path) -> None:
    """Do a run, and leave a file with a byte for each of its operations."""
    cache = ProcessCache()
    cache.data(asked)
    file = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    die_at(0, folder, lambda operation: os.write(file, b"."))
    begin(asked, RunFolder.new(folder), cache, whole_run)


@pytest.mark.slow
@pytest.mark.parametrize("whole_run", [True, False], ids=["run", "trial"])
def test_it_goes_on_and_ends_as_if_it_had_not(tmp_path, monkeypatch, whole_run):
    monkeypatch.chdir(tmp_path)
    asked: Config = config(*RUN, f"dataset.cache_dir={tmp_path / 'cache'}")
    cache = ProcessCache()
    cache.data(asked)
    begin(asked, RunFolder.new(tmp_path / "whole"), cache, whole_run)
    whole = outcome(tmp_path / "whole")
    assert in_fresh_child(count, asked, tmp_path / "counted", whole_run, tmp_path / "count") == 0
    operations = (tmp_path / "count").stat().st_size
    for number in range(3, operations + 1, operations // 3):
        folder = tmp_path / f"killed-{number}"
        assert in_fresh_child(die, asked, folder, whole_run, number) == DEAD
        try:
            run_folder = RunFolder.resumed(str(folder if number % 2 else folder.relative_to(Path.cwd())))
        except CheckpointError:  # it starts again
            assert not (folder / "checkpoints" / "best.pt").exists()
            run_folder = RunFolder.new(folder)
        begin(asked, run_folder, cache, whole_run)
        assert_equal_states(outcome(folder), whole, f"operation {number} of {operations}")
