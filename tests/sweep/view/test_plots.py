from __future__ import annotations

import math
import sys
import warnings

import cv2
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from astroclf.sweep.view.parameter_plots import Scale
from astroclf.sweep.view.plots import draw_plots, importances

ONE = ("val/accuracy",)
LR = {"optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True)}


def ink(path) -> float:
    """Share of pixels that are not background: an empty figure has almost none."""
    return float((cv2.imread(str(path)) < 250).any(axis=2).mean())


def names(paths) -> set[str]:
    return {path.name for path in paths}


def test_a_study_gets_every_figure(trials, study_of, tmp_path):
    drawn = draw_plots(study_of(trials(24)), tmp_path / "plots", ONE)
    assert names(drawn) == {
        "trials.csv", "history.png", "importance.png", "parallel_coordinates.png", "slice.png", "timeline.png"
    }  # fmt: skip
    assert names(drawn) == names((tmp_path / "plots").iterdir())
    assert all(ink(path) > 0.02 for path in drawn if path.suffix == ".png")


def test_figures_follow_the_trials_and_nothing_else(trials, study_of, tmp_path):
    first = draw_plots(study_of(trials(9, running=0)), tmp_path / "a", ONE)
    again = draw_plots(study_of(trials(9, running=0)), tmp_path / "b", ONE)
    other = draw_plots(study_of(trials(9, running=0, seed=1)), tmp_path / "c", ONE)
    for path, same, differs in zip(first, again, other, strict=True):
        assert path.read_bytes() == same.read_bytes(), path.name
        assert path.read_bytes() != differs.read_bytes(), path.name


def test_several_objectives_get_a_pareto_front(trials, study_of, tmp_path):
    study = study_of(trials(8, objectives=2), ["maximize", "minimize"])
    drawn = draw_plots(study, tmp_path, ("val/accuracy", "val/loss"))
    assert names(drawn) == {
        "trials.csv", "pareto_front.png", "importance.png", "parallel_coordinates.png", "timeline.png",
        "slice_val_accuracy.png", "slice_val_loss.png",
    }  # fmt: skip
    assert ink(tmp_path / "pareto_front.png") > 0.02


def test_what_cannot_be_drawn_is_left_out(trial, study_of, tmp_path):
    def some(count, value=0.5, state=TrialState.COMPLETE, lr=1e-3):
        return [trial(n, state, value, params={"optimizer.lr": lr * (1 + n)}, space=LR) for n in range(count)]

    everywhere = {"trials.csv", "timeline.png"}
    cases = {
        "nothing": ([], {"trials.csv"}),
        "waiting": ([trial(0, TrialState.WAITING, seconds=None)], {"trials.csv"}),
        "one": (some(1), everywhere | {"history.png"}),
        "failed": (some(3, None, TrialState.FAIL), everywhere),
        "pruned": (some(3, 0.4, TrialState.PRUNED), everywhere),
        "not finite": (some(3, math.inf), everywhere),
        "no parameters": ([trial(n, values=0.5 + n) for n in range(5)], everywhere | {"history.png"}),
        "equal values": (some(6), everywhere | {"history.png", "slice.png", "parallel_coordinates.png"}),
    }
    for name, (trials, expected) in cases.items():
        assert names(draw_plots(study_of(trials), tmp_path / name, ONE)) == expected, name
    front = draw_plots(study_of([trial(0, values=[1.0, 2.0])], ["maximize"] * 2), tmp_path / "front", ("a", "b"))
    assert names(front) == everywhere


def test_odd_parameters_are_drawn(trial, study_of, tmp_path):
    space = {
        "a_very_long_name.of_a_group_of_choices": CategoricalDistribution(
            [None, True, "x" * 40, "[0.9, 0.99]", 3, 2.5]
        ),
        "trainer.epochs": IntDistribution(1, 3),
        "other.epochs": IntDistribution(1, 1000, log=True),
        "fixed": FloatDistribution(0.5, 0.5),
        "narrow": FloatDistribution(1e-3, 2e-3, log=True),
        "negative": FloatDistribution(-1.0, 1.0, step=0.5),
    }
    choices = space["a_very_long_name.of_a_group_of_choices"].choices
    params = [
        {
            "a_very_long_name.of_a_group_of_choices": choices[n % 6], "trainer.epochs": 1 + n % 3,
            "other.epochs": 10 ** (n % 4), "fixed": 0.5, "narrow": 1e-3 * (1 + n / 8), "negative": -1 + 0.5 * (n % 5),
        }
        for n in range(8)
    ]  # fmt: skip
    trials = [trial(n, values=[-1e6, 0.5 + n / 10][n > 0], params=params[n], space=space) for n in range(8)]
    with warnings.catch_warnings(action="error"):
        drawn = draw_plots(study_of(trials), tmp_path, ONE)
    assert {"slice.png", "parallel_coordinates.png", "importance.png"} < names(drawn)


def test_importance_finds_what_matters(trials, study_of):
    shares = importances(study_of(trials(60)), ONE)["val/accuracy"]
    assert max(shares, key=shares.get) == "optimizer.lr"
    assert sum(shares.values()) == pytest.approx(1)
    assert "loss.beta" in shares  # only some trials have it


def test_importance_knows_which_way_is_better(trial, study_of):
    space = {"a": FloatDistribution(0, 1), "b": FloatDistribution(0, 1)}
    # Only low values depend on a: the best of a study that minimises, none of the best of one that maximises.
    params = [{"a": n / 39, "b": n * 0.618 % 1} for n in range(40)]
    values = [p["a"] if p["a"] < 0.2 else 1 + p["b"] for p in params]
    trials = [trial(n, values=values[n], params=params[n], space=space) for n in range(40)]
    lowest = importances(study_of(trials, ["minimize"]), ONE)["val/accuracy"]
    highest = importances(study_of(trials, ["maximize"]), ONE)["val/accuracy"]
    assert lowest["a"] > 0.8
    assert highest["b"] > 0.6


def test_axes_span_what_was_searched(trial):
    trials = [trial(0, values=0.5, params={"optimizer.lr": 1e-3}, space=LR)]
    scale = Scale.of(trials, "optimizer.lr")
    assert [scale.height(lr) for lr in (1e-5, 10**-3.5, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert [label for _, label in scale.ticks()] == ["1e-5", "1e-4", "1e-3", "0.01"]
    loss = {"loss": CategoricalDistribution(("focal", None))}
    scale = Scale.of([trial(0, values=0.5, params={"loss": None}, space=loss)], "loss")
    assert (scale.number(None), scale.ticks()) == (1, [(0, "focal"), (1, "null")])


def test_drawing_leaves_the_users_pyplot_alone(trials, study_of, tmp_path):
    import matplotlib as mpl

    size, loaded = mpl.rcParams["font.size"], "matplotlib.pyplot" in sys.modules
    draw_plots(study_of(trials(3, running=0)), tmp_path, ONE)
    assert mpl.rcParams["font.size"] == size
    assert ("matplotlib.pyplot" in sys.modules) == loaded
