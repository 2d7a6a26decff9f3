"""What a sweep is to do: how many trials, of which combinations; and the config of each, as Hydra composes it."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.types import RunMode

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.config.validate import typed_section
from astroclf.errors import ConfigError
from astroclf.settings.sweep import SweepSettings
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.plan import Composer, make_plan
from astroclf.sweep.trial import trial_name
from tests.sweep.test_samplers import chosen

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


# ---- how many trials, of which combinations --------------------------------------------------------------------------

LISTED = ("seed=range(0,6)", "trainer.epochs=1,2", "optimizer.lr=0.1,0.01")  # 24 combinations


def planned(composer, folder, *arguments: str):
    """Plan a sweep that records nothing."""
    own = [argument for argument in arguments if argument.lstrip("+").startswith("hydra")]
    settings = chosen(*own)
    settings.pop("_target_")
    space = [*FIXED, "tracking=none", *(argument for argument in arguments if argument not in own)]
    plan, _, combinations = make_plan(typed_section(SweepSettings, settings), composer, folder, space)
    return plan, combinations


@pytest.mark.parametrize("sampler", [(), ("hydra/sweeper/sampler=grid",)])
def test_every_listed_combination_is_run_where_no_number_is_typed(composer, tmp_path, sampler):
    plan, combinations = planned(composer, tmp_path, *LISTED, *sampler)
    assert (plan.n_trials, plan.combinations, len(combinations)) == (24, 24, 24)
    assert len({tuple(each.items()) for each in combinations}) == 24


@pytest.mark.parametrize(
    ("arguments", "n_trials", "combinations", "listed"),
    [
        (["hydra.sweeper.n_trials=50"], 24, 24, 24),  # no combination is worth a second trial
        (["hydra.sweeper.n_trials=12", "hydra/sweeper/sampler=grid"], 12, 24, 12),
        (["hydra.sweeper.n_trials=12"], 12, 24, None),  # the sampler chooses
        (["head.dropout=interval(0.1,0.5)"], 20, None, None),
        (["head.dropout=interval(0.1,0.5)", "hydra.sweeper.n_trials=30"], 30, None, None),
    ],
)
def test_a_typed_number_of_trials_is_a_limit(composer, tmp_path, arguments, n_trials, combinations, listed):
    plan, found = planned(composer, tmp_path, *LISTED, *arguments)
    assert (plan.n_trials, plan.combinations) == (n_trials, combinations)
    assert (None if found is None else len(found)) == listed


def test_conditions_make_combinations_fewer(composer, tmp_path):
    when = "+hydra.sweeper.when={optimizer.lr:{trainer.epochs:[2]}}"
    plan, combinations = planned(composer, tmp_path, *LISTED, when)
    assert plan.n_trials == len(combinations) == 6 * (1 + 2)


def test_a_batch_size_that_memory_decides_is_refused_in_a_sweep(composer, tmp_path):
    with pytest.raises(ConfigError, match=r"trainer\.batch_size=auto is for one run: .*choice\(32,64,128\)"):
        planned(composer, tmp_path, "trainer.batch_size=auto,auto", "optimizer.lr=0.1,0.2")


def test_more_combinations_than_a_sweep_runs_are_refused_with_their_number(composer, tmp_path):
    many = "seed=range(0,123456)"
    with pytest.raises(ConfigError, match=r"has 123,456 combinations, and a sweep runs 10,000 at most"):
        planned(composer, tmp_path, many)
    assert planned(composer, tmp_path, many, "hydra.sweeper.n_trials=5")[0].n_trials == 5
    with pytest.raises(ConfigError, match=r"head\.dropout may be any number of an interval"):
        planned(composer, tmp_path, "head.dropout=interval(0.1,0.5)", "hydra/sweeper/sampler=grid")


def test_a_trial_is_named_after_what_was_searched():
    params = {"optimizer.lr": 0.00031622, "loss": "focal", "head.attention": True, "head.dropout": 0, "x.dropout": 1}
    assert trial_name(7, params) == "#7 lr=0.000316 loss=focal attention=true head.dropout=0 x.dropout=1"
    assert len(trial_name(7, {f"key{number}": "x" * 50 for number in range(9)})) == 120
