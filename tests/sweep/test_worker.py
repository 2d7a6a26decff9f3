"""A worker process: one GPU each, in turn; and what becomes of a trial that cannot go on."""

from __future__ import annotations

import os
from types import SimpleNamespace

import optuna
import pytest
from optuna.trial import TrialState

from astroclf.errors import DiskError, TrainingError
from astroclf.sweep import trial, worker
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.study import SharedStudy


@pytest.mark.parametrize(
    ("visible", "listed", "number", "seen"),
    [
        ("0,1,2", [], 0, "0"),
        ("0,1,2", [], 4, "1"),
        ("GPU-aa,GPU-bb", [], 1, "GPU-bb"),
        (None, ["0", "1"], 3, "1"),
        (None, ["0"], 5, "0"),
        (None, [], 2, None),
        ("", ["0"], 1, ""),
    ],
)
def test_workers_are_given_gpus_in_turn(monkeypatch, visible, listed, number, seen):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(worker, "_gpus", lambda: listed)
    worker._bind_device(number)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen


@pytest.mark.parametrize(
    ("trouble", "state"),
    [(OSError(28, "No space left on device"), TrialState.RUNNING), (TrainingError("diverged"), TrialState.FAIL)],
)
def test_a_full_disk_is_no_result_of_a_trial(tmp_path, monkeypatch, trouble, state):
    def train_once(*arguments, **options):
        raise trouble

    monkeypatch.setattr(trial, "train_once", train_once)
    study = SharedStudy(f"sqlite:///{tmp_path}/optuna.db", "night", ["maximize"], tmp_path, optuna.pruners.NopPruner())
    space = SearchSpace.parse(["seed=0,1"], {}, {})
    plan = SimpleNamespace(name="night", objectives=("val/accuracy",), space=space)
    claim = study.claim(2, space, {}, lambda begun: optuna.samplers.RandomSampler(seed=begun))
    if state == TrialState.RUNNING:
        with pytest.raises(DiskError, match="the disk is full"):
            trial.run_trial(study, plan, claim, None)
    else:
        trial.run_trial(study, plan, claim, None)
    assert study.trial(0).state == state
    assert study.claim(2, space, {}, lambda begun: optuna.samplers.RandomSampler(seed=begun)).trial.number == (
        0 if state == TrialState.RUNNING else 1
    )
