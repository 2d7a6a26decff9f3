"""What the trials of a study came to: the best of them, their parameters and times, the table of all."""

from __future__ import annotations

import csv
import math

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from astroclf.sweep.results import best_trials, param_keys, too_many_failures, train_seconds, varied_keys, write_trials

UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def test_the_best_is_complete_finite_and_the_earliest_of_equals(trial):
    trials = [
        trial(0, values=0.5),
        trial(1, values=0.8),
        trial(2, values=0.8),
        trial(3, TrialState.PRUNED, 0.99),
        trial(4, TrialState.FAIL),
        trial(5, values=math.inf),
        trial(6, values=math.nan),
    ]
    assert [best.number for best in best_trials(trials, [UP])] == [1]
    assert [best.number for best in best_trials(trials, [DOWN])] == [0]
    assert best_trials(trials[3:], [UP]) == []


def test_the_pareto_front_is_what_nothing_beats_in_everything(trial):
    values = [(0.8, 3.0), (0.9, 4.0), (0.7, 3.0), (0.9, 5.0), (0.6, 1.0), (math.nan, 0.0)]
    trials = [trial(number, values=list(pair)) for number, pair in enumerate(values)]
    assert [best.number for best in best_trials(trials, [UP, DOWN])] == [1, 0, 4]
    assert [best.number for best in best_trials(trials, [UP, UP])] == [3]


def test_the_front_agrees_with_optunas(trials, study_of):
    many = trials(60, objectives=2)
    study = study_of(many, ["maximize", "minimize"])
    assert {best.number for best in best_trials(many, study.directions)} == {t.number for t in study.best_trials}


def test_a_parameter_that_depends_on_another_stands_behind_it(trial):
    trials = [
        trial(0, params={"loss": "cross_entropy", "optimizer.lr": 1e-3}),
        trial(1, params={"loss": "focal", "loss.gamma": 2.0, "optimizer.lr": 1e-3}),
    ]
    assert param_keys(trials) == ["loss", "loss.gamma", "optimizer.lr"]
    assert varied_keys(trials) == ["loss"]


def test_seconds_are_those_of_training_and_not_of_a_pause(trial):
    assert train_seconds(trial(0, values=1.0, seconds=90)) == 90
    assert train_seconds(trial(0, values=1.0, seconds=None)) == 1  # by the clock
    assert train_seconds(trial(0, TrialState.WAITING, seconds=None)) is None


def test_every_trial_is_a_row_of_the_table(trials, trial, tmp_path):
    space = {"a, b": CategoricalDistribution((None, True, "x,y"))}
    some = [
        *trials(12),
        trial(12, TrialState.WAITING, seconds=None),
        trial(13, values=0.5, params={"a, b": None}, space=space),
    ]
    with open(write_trials(tmp_path / "new" / "trials.csv", some, ["val/accuracy"]), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == [str(number) for number in range(14)]
    assert float(rows[0]["val/accuracy"]) == some[0].values[0]
    assert float(rows[0]["optimizer.lr"]) == some[0].params["optimizer.lr"]
    assert (rows[3]["state"], rows[3]["val/accuracy"], rows[3]["reason"][:18]) == ("failed", "", "CUDA out of memory")
    assert (rows[12]["started"], rows[12]["seconds"], rows[12]["folder"]) == ("", "", "")
    assert (rows[13]["a, b"], rows[0]["started"]) == ("null", "2026-11-21 10:00:00")


def test_failures_are_judged_by_their_share_of_at_least_five():
    def trials(failed: int, complete: int):
        states = [TrialState.FAIL] * failed + [TrialState.COMPLETE] * complete
        return [
            optuna.trial.create_trial(state=state, value=0.5 if state == TrialState.COMPLETE else None)
            for state in states
        ]

    assert not too_many_failures(trials(2, 0), 0.5)
    assert too_many_failures(trials(3, 0), 0.5)
    assert too_many_failures(trials(1, 0), 0.0)
    assert not too_many_failures(trials(5, 5), 0.5)
    assert too_many_failures(trials(6, 5), 0.5)
