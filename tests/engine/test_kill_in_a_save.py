"""A process that dies at any file operation of a save: the next goes on to the same bits, whatever file it takes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.trainer import Trainer
from astroclf.errors import CheckpointError
from astroclf.evaluation.history import read_history
from astroclf.run.folder import RunFolder
from tests.engine.test_trainer import assert_equal_states, make_trainer
from tests.faults import DEAD, die_at, in_fresh_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("single_threaded"),
]
SETTINGS = {"ema_decay": 0.9, "keep_lowest_loss": 2, "keep_every": 2, "epochs": 3}
LAST = 3  # validation
FILES = ("history.csv", "checkpoints/best.pt", "checkpoints/last.pt")


def resumed(pictures, folder: Path, named: str, **settings) -> Trainer:
    """A trainer that goes on as `run.build` lets it."""
    run_folder = RunFolder.resumed(named)
    trainer = make_trainer(pictures, folder, **SETTINGS | settings)
    with run_folder.locked():
        trainer.resume(run_folder.checkpoint, load_checkpoint(run_folder.checkpoint))
    return trainer


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """A run that nobody stopped, and a copy of its folder as it was before each of its validations."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "config.yaml").touch()
    trainer = make_trainer(images, folder, **SETTINGS)
    validate = trainer._validate

    def copy_then_validate(progress, last):
        shutil.copytree(folder, f"{folder}-{len(trainer.state.history) + 1}")
        validate(progress, last)

    trainer._validate = copy_then_validate  # type: ignore[method-assign]
    trainer.fit()
    return trainer


def names_of(folder: Path) -> Iterator[str]:
    """Every name by which people may resume: a folder or a file in it, absolute or from where they stand."""
    near = os.path.relpath(folder)
    for place in (str(folder), near):
        yield place
        for checkpoint in ("last", "best"):
            if (folder / "checkpoints" / f"{checkpoint}.pt").is_file():
                yield f"{place}/checkpoints/{checkpoint}.pt"


def die_in_a_validation(images, folder: Path, number: int, operations: Path) -> None:
    """Go on with a run, and die at this operation of its next validation."""
    trainer = resumed(images, folder, str(folder))
    validate = trainer._validate

    def armed_validate(progress, last):
        with operations.open("a") as file:
            die_at(number, folder, lambda operation: os.write(file.fileno(), f"{operation}\n".encode()))
            validate(progress, last)
        os._exit(0)

    trainer._validate = armed_validate  # type: ignore[method-assign]
    trainer.fit()


def die_in_the_first_save(images, folder: Path, number: int) -> None:
    trainer = make_trainer(images, folder, **SETTINGS)
    die_at(number, folder)
    trainer.checkpoints.save(trainer.state_dict(), ["best.pt"])


def die_going_back(images, folder: Path, number: int, checkpoint: Path) -> None:
    die_at(number, folder)
    resumed(images, folder, str(checkpoint))


@pytest.mark.parametrize("validation", [2, pytest.param(LAST, marks=pytest.mark.slow)])
def test_a_run_that_died_at_any_file_operation_of_a_save_goes_on_to_the_same_bits(
    images,
    whole,
    tmp_path,
    monkeypatch,
    validation,
):
    monkeypatch.chdir(tmp_path)
    operations = tmp_path / "operations"
    number, status = 0, DEAD
    while status == DEAD:
        number += 1
        folder = tmp_path / str(number)
        shutil.copytree(f"{whole.folder}-{validation}", folder)
        status = in_fresh_child(die_in_a_validation, images, folder, number, operations)
        assert status in (0, DEAD)
        names = list(names_of(folder))
        named = names[number % len(names)]
        trainer = resumed(images, folder, named)
        trainer.fit()
        assert_equal_states(trainer.state_dict(), whole.state_dict(), f"state after operation {number}")
        for name in FILES:
            if name.endswith(".pt"):
                assert_equal_states(load_checkpoint(folder / name), load_checkpoint(whole.folder / name))
            else:
                assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
        assert {path.name for path in (folder / "checkpoints").iterdir()} == {
            path.name for path in (whole.folder / "checkpoints").iterdir()
        }
        shutil.rmtree(folder)
    seen = operations.read_text().split()
    assert number > 15
    assert {"open", "write", "fsync", "replace", "link"} <= set(seen)


def test_a_run_that_died_in_its_first_save_goes_on_once_the_checkpoint_is_whole(images, tmp_path):
    number, status, outcomes = 0, DEAD, []
    while status == DEAD:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.yaml").touch()
        status = in_fresh_child(die_in_the_first_save, images, folder, number)
        whole_checkpoint = (folder / "checkpoints" / "last.pt").is_file()
        outcomes.append(whole_checkpoint)
        if whole_checkpoint:
            resumed(images, folder, str(folder))
            assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
        else:
            with pytest.raises(CheckpointError, match="starts again with its own command"):
                RunFolder.resumed(str(folder))
    assert outcomes == sorted(outcomes)
    assert True in outcomes[:-1]
    assert False in outcomes


@pytest.fixture
def branched(images, whole, tmp_path):
    """A folder of a run of three epochs, all of them kept."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").touch()
    make_trainer(images, folder, **SETTINGS | {"keep_every": 1}).fit()
    return folder


def test_going_back_makes_the_folder_what_it_was_and_says_so(images, branched, caplog):
    first = branched / "checkpoints" / "epoch-0001.pt"
    resumed(images, branched, str(branched))
    assert "Going back" not in caplog.text
    trainer = resumed(images, branched, str(first))
    assert "Going back from step 15 to step 5." in caplog.text
    for path in (trainer.checkpoints.last, trainer.checkpoints.best):
        assert load_checkpoint(path)["train_state"]["step"] == 5
    assert len(read_history(branched / "history.csv")["step"]) == 1


def test_best_weights_that_are_not_kept_are_missed_before_anything_is_changed(images, branched):
    folder = branched / "checkpoints"
    other_branch = load_checkpoint(folder / "epoch-0001.pt")
    other_branch["train_state"]["best"] = {**other_branch["train_state"]["best"], "val/loss": 0.123}
    torch.save(other_branch, folder / "other.pt")  # of the same step, and yet not the same
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(CheckpointError, match="step 5, are no longer kept"):
        resumed(images, branched, str(folder / "other.pt"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_process_that_dies_while_it_goes_back_loses_neither_place(images, branched, tmp_path):
    number, status = 0, DEAD
    while status == DEAD:
        number += 1
        folder = tmp_path / str(number)
        shutil.copytree(branched, folder)
        first = folder / "checkpoints" / "epoch-0001.pt"
        status = in_fresh_child(die_going_back, images, folder, number, first)
        trainer = resumed(images, folder, str(folder))
        saved = load_checkpoint(trainer.checkpoints.best)["train_state"]
        assert saved["history"][-1] == trainer.state.best
        trainer = resumed(images, folder, str(first))
        assert trainer.state.step == 5
    assert number > 8


def test_a_finished_run_that_died_before_all_was_told_tells_it_when_it_goes_on(images, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    (folder / "history.csv").write_text("step\n5\n")
    trainer = resumed(images, folder, str(folder))
    told = []
    trainer.on_validation = lambda history, finished: told.append((len(history), finished))
    trainer.fit()
    assert told == [(LAST, True)]
    assert (folder / "history.csv").read_bytes() == (whole.folder / "history.csv").read_bytes()
