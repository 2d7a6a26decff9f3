"""Samplers and pruners from their yaml files, and seeds that do not repeat between workers."""

from __future__ import annotations

import optuna
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.space import build_pruner, build_sampler, is_grid


def chosen(*overrides: str) -> dict:
    with initialize_config_dir(str(config_dir())):
        whole = compose("config", overrides=list(overrides), return_hydra_config=True)
    return OmegaConf.to_container(whole.hydra.sweeper, resolve=True)


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "cmaes", "gp", "nsgaii", "nsgaiii", "qmc"])
def test_every_sampler_can_be_chosen(name):
    sampler = build_sampler(chosen(f"hydra/sweeper/sampler={name}")["sampler"], 0)
    assert isinstance(sampler, optuna.samplers.BaseSampler)


@pytest.mark.parametrize("name", ["hyperband", "median", "patient", "none"])
def test_every_pruner_can_be_chosen(name):
    assert isinstance(build_pruner(chosen(f"hydra/sweeper/pruner={name}")["pruner"]), optuna.pruners.BasePruner)


def test_the_default_is_tpe_for_conditional_spaces_and_parallel_workers():
    config = chosen()["sampler"]
    assert (config["multivariate"], config["group"], config["constant_liar"]) == (True, True, True)
    assert not is_grid(config)
    assert is_grid(chosen("hydra/sweeper/sampler=grid")["sampler"])


def test_workers_with_one_seed_do_not_suggest_the_same():
    def first(trials: int) -> float:
        study = optuna.create_study(sampler=build_sampler(chosen()["sampler"], trials))
        return study.ask().suggest_float("x", 0, 1)

    assert first(0) == first(0)
    assert len({first(trials) for trials in range(5)}) == 5


def test_a_class_from_elsewhere_is_not_built():
    with pytest.raises(ConfigError, match="hydra/sweeper/sampler"):
        build_sampler({"_target_": "subprocess.Popen", "args": ["true"]}, 0)


@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "gp", "nsgaii", "qmc"])
def test_every_sampler_suggests_beyond_its_first_trials(name):
    config = chosen(f"hydra/sweeper/sampler={name}")["sampler"]
    study = optuna.create_study()
    for number in range(14):
        study.sampler = build_sampler(config, number)
        trial = study.ask()
        x = trial.suggest_float("x", -1, 1)
        y = trial.suggest_float("y", 0.01, 1, log=True)
        study.tell(trial, x**2 + y)
    assert len({trial.params["x"] for trial in study.trials}) == 14
