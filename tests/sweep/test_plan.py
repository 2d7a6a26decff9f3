"""A trial's config is what Hydra composes from the same overrides, however much of it is kept from the last trial."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.plan import Composer

FIXED = ["dataset=galaxy10_sim", "trainer.epochs=3"]


@pytest.fixture(scope="module")
def composer() -> Composer:
    loader = ConfigLoaderImpl(config_search_path=create_config_search_path(str(config_dir())))
    master = loader.load_configuration("config", overrides=FIXED, run_mode=RunMode.MULTIRUN)
    return Composer(loader, master)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optimizer.lr=0.003"],
        ["loss=cb_focal", "loss.beta=0.99", "loss.gamma=1.5"],
        ["loss=focal", "loss.gamma=0.5", "optimizer=sgd", "optimizer.momentum=0.5"],
        ["experiment=galaxy10_small", "trainer.batch_size=16", "dataset.image_size=64"],
        ["augment.rotation=[0,90]", "augment.mean=null", "dataset.exclude_classes=[Merging]"],
        ["scheduler.warmup_fraction=0.2", "head.dropout=0.1", "seed=7"],
        ["++trainer.patience=2", "tracking=none"],
    ],
)
def test_a_trial_is_what_hydra_composes(composer, overrides):
    for _ in range(2):  # the second time with what was kept
        mine = composer.config([*FIXED, *overrides]).to_plain()
        with initialize_config_dir(str(config_dir())):
            whole = compose("config", overrides=[*FIXED, *overrides])
        assert mine["trainer"] == dict(whole.trainer)
        assert mine["loss"] == dict(whole.loss)
        assert mine["optimizer"] == whole.optimizer
        assert mine["augment"] == whole.augment
        assert mine["seed"] == whole.seed
        assert mine["dataset"]["image_size"] == whole.dataset.image_size
        assert mine["head"] == dict(whole.head)


def test_trials_do_not_leak_into_each_other(composer):
    one = composer.config([*FIXED, "optimizer.lr=0.1"]).optimizer.lr
    other = composer.config([*FIXED, "optimizer.weight_decay=0.5"]).optimizer.lr
    assert one == 0.1
    assert other != 0.1


def test_a_key_that_is_not_there_is_refused(composer):
    with pytest.raises(Exception, match="gamma"):
        composer.config([*FIXED, "loss=cross_entropy", "loss.gamma=2"])
    with pytest.raises(ConfigError, match="optimizer.lr"):
        composer.config([*FIXED, "optimizer.lr=-1"])


def test_conditions_see_choices_and_values(composer):
    texts = composer.texts([*FIXED, "loss=focal", "trainer.patience=null"])
    assert (texts["loss"], texts["trainer.patience"], texts["trainer.epochs"]) == ("focal", "null", "3")
