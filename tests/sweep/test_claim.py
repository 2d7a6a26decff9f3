"""Whose a trial is, between hosts that share a disk, or none, or even their name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from optuna.trial import TrialState

from astroclf.errors import TakenOver
from astroclf.sweep import claim as claim_module
from astroclf.sweep.claim import Claim
from astroclf.sweep.study import SharedStudy
from tests.sweep.test_study import claim, opened


def elsewhere(folder: Path) -> SharedStudy:
    """The study of `opened` on a host with a disk of its own, and a name that may be the same."""
    return SharedStudy(f"sqlite:///{folder / 'optuna.db'}", "night", ["maximize"], folder / "other disk" / "sweep")


def out_of_sight(folder: Path) -> None:
    """Put a folder where other hosts would not see it; what has it open keeps it open."""
    folder.rename(folder.with_name(f"{folder.name}, which others do not see"))


def back_in_sight(folder: Path) -> None:
    folder.with_name(f"{folder.name}, which others do not see").rename(folder)


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(claim_module, "LOST_SECONDS", -1.0)


@pytest.fixture
def other_name(monkeypatch):
    """Let hosts have another name from now on."""
    return lambda: monkeypatch.setattr(claim_module.socket, "gethostname", lambda: "elsewhere")


@pytest.fixture
def passing(monkeypatch):
    """Let seconds pass on this host's clock."""
    past = [0.0]

    def wait(seconds: float) -> None:
        past[0] += seconds

    real = claim_module.time.monotonic
    monkeypatch.setattr(claim_module.time, "monotonic", lambda: real() + past[0])
    return wait


def test_a_worker_on_another_host_is_believed_dead_only_after_a_long_silence(tmp_path, other_name, passing):
    first = claim(opened(tmp_path))
    first.lock.release()
    other_name()
    study = opened(tmp_path)
    second = claim(study)
    assert second.trial.number == 1
    passing(claim_module.LOST_SECONDS + 1)
    assert claim(study).trial.number == 0


def test_a_trial_that_was_left_is_taken_at_once_by_a_host_that_sees_it_and_by_no_other(tmp_path, other_name):
    first = opened(tmp_path)
    left, lost = claim(first), claim(first)
    first.leave(left)
    first.release(lost.trial.number)
    other_name()
    out_of_sight(tmp_path / "sweep")
    third = claim(elsewhere(tmp_path))
    assert third.trial.number == 2  # the host of the first two may come back for them
    back_in_sight(tmp_path / "sweep")
    near = opened(tmp_path)
    running = near.trials()
    assert [near.is_left(trial) for trial in running] == [False] * 3  # their locks are held
    left.lock.release()
    assert [near.is_left(trial) for trial in running] == [True, False, False]
    lost.lock.release()
    again = [claim(near), claim(near)]
    assert [taken.trial.number for taken in again] == [0, 1]
    assert not near.is_left(near.trials()[0])  # begun again: what was said of the process before counts no more


def test_a_worker_that_begins_again_has_its_own_trial_and_no_other_at_once(tmp_path, other_name):
    first = opened(tmp_path)
    for taken in [claim(first, worker=key) for key in ("job 1", "job 2")]:
        taken.lock.release()
    other_name()
    second = opened(tmp_path)
    assert second.trial_of("job 2") == 1
    assert second.trial_of("job 3") is None
    own, new = claim(second, worker="job 2"), claim(second, worker="job 3")
    assert (own.trial.number, new.trial.number) == (1, 2)


def test_a_sign_of_life_counts_whatever_the_clock_of_its_host_says(tmp_path, other_name, passing):
    first = claim(opened(tmp_path))
    first.lock.release()
    other_name()
    study = opened(tmp_path)
    begun: list[Claim] = []  # a lock that nobody holds on to is released
    for number, beat in enumerate((1.0, 2.0, 3.0), start=1):  # of a host that stands in 1970
        first.trial.set_user_attr("heartbeat", beat)
        begun.append(claim(study))
        assert begun[-1].trial.number == number
        passing(claim_module.LOST_SECONDS + 1)
    assert claim(study).trial.number == 0


def test_a_dead_trial_begins_again_under_its_number_on_a_host_that_does_not_see_its_disk(tmp_path, impatient):
    first = claim(opened(tmp_path))
    out_of_sight(first.folder)
    again = claim(elsewhere(tmp_path))
    assert (again.trial.number, again.params) == (0, first.params)
    assert again.folder == tmp_path / "other disk" / "sweep" / "0"
    assert not again.is_new


def test_hosts_of_one_name_with_a_disk_for_each_leave_each_others_living_trials_alone(tmp_path):
    living = claim(opened(tmp_path))
    out_of_sight(living.folder)
    assert claim(elsewhere(tmp_path)).trial.number == 1


def test_a_clone_of_a_host_with_the_folders_of_before_leaves_its_trials_alone(tmp_path):
    """The clone has the trial's folder as it was when its disk was copied, and there its lock is free."""
    study = opened(tmp_path)
    before = claim(study)
    shutil.copytree(before.folder, tmp_path / "copy")
    before.lock.release()
    living = claim(study)  # the next process on the same host, which goes on with the trial
    assert living.trial.number == before.trial.number
    out_of_sight(living.folder)
    shutil.move(tmp_path / "copy", living.folder)
    assert claim(opened(tmp_path)).trial.number == 1


def test_a_kill_between_the_claim_in_the_folder_and_that_in_the_study_does_not_make_a_stranger(tmp_path):
    study = opened(tmp_path)
    first = claim(study)
    claim_module.write_claim(first.folder, study.trials()[0].user_attrs)  # by one that is killed then
    first.lock.release()
    assert claim(study).trial.number == 0


def test_a_kill_before_a_trial_has_its_claim_costs_no_wait(tmp_path):
    study = opened(tmp_path)
    study.study.ask()
    assert claim(study).trial.number == 0


def test_a_living_trial_on_a_shared_disk_is_not_taken_over_however_silent_its_host(tmp_path, impatient, other_name):
    study = opened(tmp_path)
    living = claim(study)
    other_name()
    assert claim(study).trial.number == 1
    assert living.lock.is_locked


def test_who_comes_back_after_a_takeover_changes_nothing(tmp_path, impatient):
    slow_study, quick_study = opened(tmp_path), elsewhere(tmp_path)
    slow = claim(slow_study)
    out_of_sight(slow.folder)
    quick = claim(quick_study)
    with pytest.raises(TakenOver), slow_study.owned(slow):
        pytest.fail("the trial is the other's")
    with pytest.raises(TakenOver):
        slow_study.tell(slow, TrialState.COMPLETE, [0.1])
    assert quick_study.trials()[0].state == TrialState.RUNNING
    quick_study.tell(quick, TrialState.COMPLETE, [0.7])
    with pytest.raises(TakenOver):
        slow_study.tell(slow, TrialState.FAIL, reason="late")
    slow_study.count_death(0)  # of the slow one's process, which its coordinator tells
    slow_study.fail(0, "late")
    assert (quick_study.trials()[0].values, quick_study.trials()[0].user_attrs.get("reason")) == ([0.7], None)


def test_a_trial_that_is_told_in_the_middle_of_a_write_is_lost_and_no_error_of_the_program(tmp_path):
    study = opened(tmp_path)
    mine = claim(study)
    with pytest.raises(TakenOver), study.owned(mine) as trial:
        study.study.tell(0, 0.5)
        trial.set_user_attr("seconds", 1.0)
    assert study.trials()[0].values == [0.5]
