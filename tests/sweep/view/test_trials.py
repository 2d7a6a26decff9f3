from __future__ import annotations

import csv
import math

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from astroclf.sweep.view.trials import (
    best_trials,
    clock,
    param_keys,
    param_text,
    short_names,
    train_seconds,
    value_text,
    varied_keys,
    write_trials,
)

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


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["optimizer.lr", "loss"], ["lr", "loss"]),
        (["head.dropout", "backbone.dropout", "loss.beta"], ["head.dropout", "backbone.dropout", "beta"]),
        (["+loss.gamma", "a.b.c", "d.b.c"], ["gamma", "a.b.c", "d.b.c"]),
        (["loss", "x.loss"], ["loss", "x.loss"]),
    ],
)
def test_names_are_as_short_as_they_can_be_told_apart(keys, names):
    assert list(short_names(keys).values()) == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-4, "3e-4"), (8.3912e-4, "8.39e-4"), (0.9999, "0.9999"), (2.0, "2"), (0.02804, "0.028"), (0.0, "0"),
        (True, "true"), (None, "null"), (64, "64"), ("cb_focal", "cb_focal"), (-1e-5, "-1e-5"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_parameters_are_written_as_they_are_typed(value, text):
    assert param_text(value) == text


def test_values_and_times_are_short():
    assert [value_text(value) for value in (0.86424, 1.2e-5, 31234.5, None, math.inf)] == [
        "0.8642", "1.2e-05", "3.12e+04", "–", "inf"
    ]  # fmt: skip
    assert [clock(seconds) for seconds in (7.4, 187, 7387, None, math.nan)] == ["0:07", "3:07", "2:03:07", "–", "–"]


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
