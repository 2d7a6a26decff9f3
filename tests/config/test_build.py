"""What a config names is built if it is to be trusted and takes all that it is given."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from PIL import Image

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.config.build import build
from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError
from astroclf.settings.base import ComponentSettings
from astroclf.settings.config import GROUPS, Config
from astroclf.settings.network import BackboneSettings
from astroclf.settings.training import LossSettings, OptimizerSettings
from astroclf.settings.yaml_files import config_dir

CHOICES = [
    (group, path.stem)
    for group in ("optimizer", "scheduler", "augment", "loss", "backbone")
    for path in sorted((config_dir() / group).glob("[!_]*.yaml"))
]
RUN_TIME: dict[str, dict[str, Any]] = {
    "optimizer": {"params": [torch.nn.Parameter(torch.zeros(2, 2))]},
    "scheduler": {"peak_lr": 0.1, "total_steps": 10},
    "loss": {"class_counts": [10, 20, 30]},
    "backbone": {"image_size": 32, "channels": 3, "weights": None},
}


@cache
def composed(*overrides: str) -> Config:
    return composed_as(Config, "config", overrides)


def default(group: str, *overrides: str) -> ComponentSettings:
    return getattr(composed(*overrides), group)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_component_builds_from_its_yaml(group, choice):
    assert build(default(group, f"{group}={choice}"), **RUN_TIME.get(group, {})) is not None


@pytest.mark.parametrize("group", GROUPS)
def test_an_option_that_nothing_takes_is_refused_though_another_group_has_such_a_key(group):
    for foreign in {"gamma", "weight_decay", "keep_images_on", "register"} - set(GROUPS[group].declared()):
        with pytest.raises(ConfigError, match=f"takes no {foreign}"):
            build(replace(default(group), options={foreign: 1}), **RUN_TIME.get(group, {}))


def test_a_key_that_only_another_choice_of_the_group_takes_is_refused():
    with pytest.raises(ConfigError, match="CrossEntropy takes no gamma"):
        build(LossSettings(target="astroclf.losses.cross_entropy.CrossEntropy", gamma=2.0), class_counts=[1, 2])


def test_a_key_that_the_run_reads_itself_is_no_concern_of_the_class(tmp_path):
    reader = build(default("dataset", "dataset.samples=10", "dataset.image_size=16", f"dataset.cache_dir={tmp_path}"))
    assert len(reader.catalog) == 10  # it takes no split fractions


def test_how_files_are_read_is_one_thing_for_a_class_that_takes_it_and_refused_by_any_other(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "0.png")
    dataset = default("dataset", "dataset=folder", f"dataset.path={tmp_path}", "dataset.tone.stretch=log")
    assert build(dataset, reading=dataset.reading).reading.tone.stretch == "log"
    galaxies = default("dataset", "dataset.samples=10", "dataset.image_size=16", f"dataset.cache_dir={tmp_path}")
    with pytest.raises(ConfigError, match="takes no planes"):
        build(replace(galaxies, planes=[0]), reading=dataset.reading)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("os.system", "must be a class below"),
        ("astroclf.util.atomic.write_text", "must be a class below"),
        ("astroclf.models.weights.read_state", "no class that is defined"),
        ("astroclf.models.weights.Path", "no class that is defined"),
        ("astroclf.models.nowhere.Net", "no class that can be imported"),
    ],
)
def test_a_target_that_is_no_class_of_ours_is_refused(target, says, tmp_path):
    with pytest.raises(ConfigError, match=says):
        build(BackboneSettings(target=target, options={"path": str(tmp_path / "file"), "text": "owned"}))
    assert not list(tmp_path.iterdir())


def test_a_class_that_refuses_its_options_is_a_users_error():
    with pytest.raises(ConfigError, match="refuses its options"):
        build(
            OptimizerSettings(target="torch.optim.AdamW", lr=0.1, betas=[0.9, 1.5]),
            params=[torch.nn.Parameter(torch.ones(1))],
        )


def test_an_option_that_the_class_does_not_take_is_refused():
    with pytest.raises(ConfigError, match="takes no momentun"):
        build(OptimizerSettings(target="torch.optim.SGD", lr=0.1, options={"momentun": 0.9}), params=[])
