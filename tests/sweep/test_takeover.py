"""A worker that is stopped for long, loses its trial and comes back: real processes, with real signals."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from astroclf.sweep import claim as claim_module
from astroclf.sweep import trial as trial_module
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.study import SharedStudy

SPACE = SearchSpace.parse(["seed=0,1"], {}, {})
VALIDATION_SECONDS = 0.1


def _work(folder: str, disk: str, value: float, validations: int) -> None:
    """Run trials until there is none, on a disk of this host's own; their training is a stand-in that takes time."""
    claim_module.HEARTBEAT_SECONDS, claim_module.LOST_SECONDS = 0.2, 2.0

    def train_once(plan, overrides, place, cache, tags, report, is_new, name):
        history: list[dict[str, float]] = []
        while len(history) < validations:
            time.sleep(VALIDATION_SECONDS)
            report.before_save()
            with (place / "saved.txt").open("a") as file:
                file.write(f"{value}\n")
            history.append({"val/accuracy": value})
            report.on_validation(history, len(history) == validations)
        return history[-1]

    trial_module.train_once, trial_module.free_memory = train_once, lambda: None
    study = SharedStudy(
        f"sqlite:///{folder}/optuna.db", "night", ["maximize"], Path(folder) / disk, optuna.pruners.NopPruner()
    )
    plan = SimpleNamespace(name="night", objectives=("val/accuracy",), space=SPACE)
    while claim := study.claim(2, SPACE, {}, lambda begun: optuna.samplers.RandomSampler(seed=begun)):
        trial_module.run_trial(study, plan, claim, None)
    time.sleep(0.1)


def begin(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments)
    process.start()
    return process


def stop(process: multiprocessing.Process, study: SharedStudy, database: Path) -> None:
    """Stop a process while it holds no lock that the other would wait for."""
    connection = sqlite3.connect(database, timeout=60, isolation_level=None)
    with study.lock():
        connection.execute("BEGIN EXCLUSIVE")
        os.kill(process.pid, signal.SIGSTOP)
        connection.execute("ROLLBACK")
    connection.close()


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("other_is_done", [True, False])
def test_a_worker_that_was_stopped_for_long_leaves_its_trial_to_the_other_and_goes_on(tmp_path, other_is_done):
    study = SharedStudy(f"sqlite:///{tmp_path}/optuna.db", "night", ["maximize"], tmp_path / "none")

    def state(number: int) -> TrialState | None:
        trials = study.trials()
        return trials[number].state if len(trials) > number else None

    slow = begin(str(tmp_path), "one disk", 0.1, 30)
    wait_for((tmp_path / "one disk" / "0" / "saved.txt").exists)
    stop(slow, study, tmp_path / "optuna.db")
    saved = (tmp_path / "one disk" / "0" / "saved.txt").read_text()
    (tmp_path / "one disk" / "0" / ".claim").rename(tmp_path / "out of sight")  # as a disk of another host is
    quick = begin(str(tmp_path), "other disk", 0.7, 40)
    wait_for((tmp_path / "other disk" / "1" / "saved.txt").exists)  # there is other work, and no waiting
    wait_for((tmp_path / "other disk" / "0" / "saved.txt").exists)
    if other_is_done:
        wait_for(lambda: state(0) == TrialState.COMPLETE)
    os.kill(slow.pid, signal.SIGCONT)
    for process in (slow, quick):
        process.join(60)
    assert (slow.exitcode, quick.exitcode) == (0, 0)
    trials = study.trials()
    assert [(trial.state, trial.values) for trial in trials] == [(TrialState.COMPLETE, [0.7])] * 2
    assert trials[0].user_attrs["folder"] == str(tmp_path / "other disk" / "0")
    assert (tmp_path / "one disk" / "0" / "saved.txt").read_text() == saved
    assert "taken over" in (tmp_path / "one disk" / "0" / "train.log").read_text()
