from __future__ import annotations

import datetime
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

SPACE: dict[str, BaseDistribution] = {
    "backbone": CategoricalDistribution(("custom6conv", "resnet18")),
    "loss": CategoricalDistribution(("cross_entropy", "focal", "cb_focal")),
    "loss.gamma": FloatDistribution(0.5, 5.0),
    "loss.beta": CategoricalDistribution((0.9, 0.99, 0.999, 0.9999)),
    "optimizer.lr": FloatDistribution(1e-5, 1e-2, log=True),
    "optimizer.weight_decay": FloatDistribution(1e-4, 0.3, log=True),
    "augment": CategoricalDistribution(("galaxy10", "dihedral")),
    "head.dropout": FloatDistribution(0.1, 0.6),
}
FIRST_START = datetime.datetime(2026, 11, 21, 10, 0)


def make_trial(
    number: int = 0,
    state: TrialState = TrialState.COMPLETE,
    values: Sequence[float] | float | None = None,
    params: dict[str, Any] | None = None,
    space: dict[str, BaseDistribution] = SPACE,
    validations: dict[int, float] | None = None,
    seconds: float | None = 60.0,
    attrs: dict[str, Any] | None = None,
) -> FrozenTrial:
    """A trial of trial number `number`, begun `number` minutes after `FIRST_START`."""
    values = [values] if isinstance(values, int | float) else values
    started = None if state == TrialState.WAITING else FIRST_START + datetime.timedelta(minutes=number)
    ended = started + datetime.timedelta(seconds=seconds or 1) if started and state.is_finished() else None
    params = params or {}
    return FrozenTrial(
        number=number, state=state, value=None, values=values, datetime_start=started, datetime_complete=ended,
        params=params, distributions={key: space[key] for key in params},
        user_attrs=(attrs or {}) | ({} if seconds is None else {"seconds": seconds}), system_attrs={},
        intermediate_values=validations or {}, trial_id=number,
    )  # fmt: skip


def realistic_trials(count: int, running: int = 2, seed: int = 0, objectives: int = 1) -> list[FrozenTrial]:
    """Trials of `SPACE`: most complete, some pruned, two failed, the last ones running; accuracy is best at lr 1e-3."""
    draw = random.Random(seed)
    trials = []
    for number in range(count):
        params: dict[str, Any] = {}
        for key, distribution in SPACE.items():
            if key == "loss.gamma" and params["loss"] == "cross_entropy":
                continue
            if key == "loss.beta" and params["loss"] != "cb_focal":
                continue
            if isinstance(distribution, CategoricalDistribution):
                params[key] = draw.choice(distribution.choices)
            elif isinstance(distribution, FloatDistribution) and distribution.log:
                params[key] = math.exp(draw.uniform(math.log(distribution.low), math.log(distribution.high)))
            elif isinstance(distribution, FloatDistribution):
                params[key] = draw.uniform(distribution.low, distribution.high)
        value = 0.84 - 0.06 * abs(math.log10(params["optimizer.lr"]) + 3) ** 1.5 + draw.gauss(0, 0.01)
        value += 0.02 * (params["backbone"] == "resnet18")
        attrs: dict[str, Any] = {"folder": f"experiments/sweeps/galaxy10/{number}", "host": "one", "validations": 10}
        seen = 10
        state, values = TrialState.COMPLETE, [value, *[3.0 + 2 * draw.random()] * (objectives - 1)]
        if number >= count - running:
            state, seen = TrialState.RUNNING, draw.randint(1, 9)
        elif number in (3, 8):
            state, seen = TrialState.FAIL, 2
            attrs["reason"] = "CUDA out of memory. Tried to allocate 2.00 GiB." if number == 3 else "the loss is nan"
        elif number > 4 and value < 0.78 and objectives == 1:
            state, seen = TrialState.PRUNED, draw.choice((1, 3))
        curve = {step: value * (1 - 0.6**step) for step in range(1, seen + 1)} if objectives == 1 else {}
        if state == TrialState.PRUNED:
            values = [curve[seen]]
        trials.append(
            make_trial(
                number, state, values if state in (TrialState.COMPLETE, TrialState.PRUNED) else None, params,
                validations=curve, seconds=19.0 * seen, attrs=attrs,
            )
        )  # fmt: skip
    return trials


@pytest.fixture
def trial() -> Callable[..., FrozenTrial]:
    """See `make_trial`."""
    return make_trial


@pytest.fixture
def trials() -> Callable[..., list[FrozenTrial]]:
    """See `realistic_trials`."""
    return realistic_trials


@pytest.fixture
def study_of() -> Callable[..., optuna.Study]:
    """From trials to a study in memory that holds them."""

    def build(trials: Sequence[FrozenTrial], directions: Sequence[str] = ("maximize",)) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(study_name="galaxy10", directions=list(directions))
        study.add_trials(trials)
        return study

    return build
