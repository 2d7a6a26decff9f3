"""The search spaces in conf/sweep: every value of every key is one that a run takes."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.config.compose import composed_as
from astroclf.settings.config import Config
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.space import SearchSpace

SPACES = sorted((config_dir() / "sweep").glob("*.yaml"), key=lambda path: path.stem)


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_value_is_one_that_a_run_takes(path):
    sweeper = OmegaConf.to_container(OmegaConf.load(path))["hydra"]["sweeper"]
    space = SearchSpace.parse([], sweeper["params"], sweeper["when"])
    assert set(space.when) <= set(space.distributions)
    values: dict[str, list] = {}
    for key, value in space.extremes():
        values.setdefault(key, []).append(value)
    for loss in values["loss"]:  # which decides what else there is
        for turn in range(4):
            params = {}
            for key, choices in values.items():  # what others depend on comes first
                conditions = space.when.get(key, {})
                slowly = turn if conditions.keys() <= {"loss"} else turn // 2  # so that each meets what it depends on
                if all(params[other] in sweeper["when"][key][other] for other in conditions):
                    params[key] = loss if key == "loss" else choices[slowly % len(choices)]
            composed_as(Config, "config", space.overrides(params))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_a_condition_spares_a_key_where_it_has_no_meaning(path):
    sweeper = OmegaConf.to_container(OmegaConf.load(path))["hydra"]["sweeper"]
    losses = set(sweeper["when"]["loss.label_smoothing"]["loss"])
    assert losses.isdisjoint(sweeper["when"]["loss.gamma"]["loss"])
    assert losses == {"cross_entropy"}
