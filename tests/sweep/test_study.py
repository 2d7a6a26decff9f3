"""A study shared by processes: each trial is taken once, and one whose process died is gone on with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from astroclf.errors import SweepError, TakenOver
from astroclf.sweep.results import all_finished
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.study import SharedStudy

SPACE = SearchSpace.parse(["optimizer.lr=interval(0.1, 0.9)"], {}, {})


def opened(folder: Path) -> SharedStudy:
    return SharedStudy(f"sqlite:///{folder / 'optuna.db'}", "night", ["maximize"], folder / "sweep")


def claim(study: SharedStudy, n_trials: int = 10, worker: str = ""):
    return study.claim(n_trials, SPACE, {}, lambda trials: optuna.samplers.RandomSampler(seed=trials), worker)


def _take(folder: str, n_trials: int, finish: bool) -> None:
    """In another process: take a trial; finish it, or wait to be killed."""
    study = opened(Path(folder))
    while taken := claim(study, n_trials):
        if not finish:
            time.sleep(60)
        study.tell(taken, TrialState.COMPLETE, [taken.params["optimizer.lr"]])
        taken.lock.release()


def start(*arguments) -> multiprocessing.Process:
    process = multiprocessing.get_context("spawn").Process(target=_take, args=arguments)
    process.start()
    return process


def test_processes_that_start_together_share_the_trials_out(tmp_path):
    processes = [start(str(tmp_path), 12, True) for _ in range(4)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    trials = opened(tmp_path).trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 12
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 12
    assert len({trial.user_attrs["folder"] for trial in trials}) == 12


def test_a_trial_whose_process_was_killed_is_taken_over_with_its_parameters(tmp_path):
    process = start(str(tmp_path), 2, False)
    study = opened(tmp_path)
    end = time.monotonic() + 60
    while not (begun := study.trials()) or "optimizer.lr" not in begun[0].params:
        assert time.monotonic() < end
        time.sleep(0.05)
    other = claim(study, 2)
    assert other.trial.number == 1  # the first is alive
    trials = study.trials()  # read while nobody writes: Optuna reads parameters and attributes one after the other
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    taken = claim(study, 2)
    assert taken.trial.number == 0
    assert taken.params == study.trials()[0].params
    assert str(taken.folder) == trials[0].user_attrs["folder"]
    assert claim(study, 2) is None
    study.tell(taken, TrialState.COMPLETE, [0.5])
    with pytest.raises(TakenOver):  # told twice: the first word counts
        study.tell(taken, TrialState.FAIL)
    assert study.trials()[0].state == TrialState.COMPLETE


def test_a_trial_that_ends_while_it_is_looked_at_is_not_taken_over(tmp_path):
    study = opened(tmp_path)
    taken = claim(study)
    (seen,) = study.trials()
    assert seen.state == TrialState.RUNNING
    study.tell(taken, TrialState.COMPLETE, [0.5])
    taken.lock.release()
    assert study._take_over(seen, SPACE, {}) is None
    assert study.trials()[0].state == TrialState.COMPLETE


def test_a_folder_of_a_forgotten_study_is_not_written_over(tmp_path):
    (tmp_path / "sweep" / "0").mkdir(parents=True)
    assert claim(opened(tmp_path)).folder.name == "0_2"


def test_planned_trials_come_once_and_in_order(tmp_path):
    study = opened(tmp_path)
    combinations = [{"optimizer.lr": 0.2}, {"optimizer.lr": 0.7}]
    study.enqueue(combinations)
    study.enqueue(combinations)
    taken = [claim(study, 2), claim(study, 2)]
    assert [one.params for one in taken] == combinations
    assert claim(study, 2) is None


def test_combinations_that_a_sampler_has_tried_are_not_planned_again(tmp_path):
    study = opened(tmp_path)
    space = SearchSpace.parse(["a=range(0,3)", "b=range(0.1,0.4,0.1)"], {}, {})
    for a, b in ((0, 0.1), (0, 0.1), (2, 0.1 + 2 * 0.1)):  # of the last, Optuna says 0.30000000000000004
        trial = study.study.ask()
        trial.suggest_int("a", a, a)
        trial.suggest_float("b", b, b)
        study.study.tell(trial, 0.5)
    study.enqueue(list(space.combinations({})))
    assert len(study.trials()) == 3 + 9 - 2


def test_a_study_ends_where_fewer_trials_are_wanted_than_were_planned(tmp_path):
    study = opened(tmp_path)
    study.enqueue([{"optimizer.lr": 0.2}, {"optimizer.lr": 0.5}, {"optimizer.lr": 0.7}])
    first, second = claim(study, 2), claim(study, 2)
    study.tell(first, TrialState.COMPLETE, [0.1])
    assert not all_finished(study.trials(), 1)  # the second is running
    study.tell(second, TrialState.COMPLETE, [0.2])
    assert all_finished(study.trials(), 2)
    assert not all_finished(study.trials(), 3)


def test_another_configuration_under_the_same_name_is_refused_with_the_difference(tmp_path):
    study = opened(tmp_path)
    study.agree("config", {"trainer.epochs": "10", "seed": "0"}, "Bring it back.")
    study.agree("config", {"trainer.epochs": "10", "seed": "0"}, "Bring it back.")
    with pytest.raises(SweepError, match=r"trainer\.epochs: 10 then, 20 now") as caught:
        opened(tmp_path).agree("config", {"trainer.epochs": "20", "seed": "0"}, "Bring it back.")
    assert "seed" not in str(caught.value)
    assert "Bring it back." in str(caught.value)


def test_other_objectives_under_the_same_name_are_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(SweepError, match="goes by maximize, this sweep by minimize"):
        SharedStudy(f"sqlite:///{tmp_path / 'optuna.db'}", "night", ["minimize"], tmp_path)


def test_a_value_that_is_not_finite_fails_the_trial(tmp_path):
    study = opened(tmp_path)
    taken = claim(study)
    study.tell(taken, TrialState.COMPLETE, [float("nan")])
    assert study.trials()[0].state == TrialState.FAIL
    assert "not finite" in study.trials()[0].user_attrs["reason"]
    assert study.best() is None


def test_deaths_of_a_trials_process_are_counted(tmp_path):
    study = opened(tmp_path)
    number = claim(study).trial.number
    assert [study.count_death(number), study.count_death(number)] == [1, 2]
    study.fail(number, "killed twice")
    assert study.trials()[0].state == TrialState.FAIL
    assert study.trials()[0].user_attrs["reason"] == "killed twice"
