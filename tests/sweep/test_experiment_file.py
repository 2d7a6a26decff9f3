"""A trial's command line as an experiment file: it composes what the command line composed."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.experiment_file import write_experiment


def composed(*overrides: str, folder=None):
    """The config without its interpolations resolved: two that are equal here are equal everywhere."""
    given = [*overrides, *([f"hydra.searchpath=[file://{folder}]"] if folder else [])]
    with initialize_config_dir(str(config_dir())):
        return OmegaConf.to_container(compose("config", overrides=given))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3"],
        ["backbone=custom6conv", "loss=cb_focal", "loss.gamma=1.5", "loss.beta=0.999", "optimizer.lr=1e-05"],
        ["optimizer.lr=0.00031622776601683795", "trainer.ema_decay=null", "head.attention=true", "trainer.epochs=7"],
        ["dataset=galaxy10", "dataset.path='/data/a b/c=d, (e) [f] {g}#h: \"i\"'", "dataset.exclude_classes=[a,'b c']"],
        ["tracking.run_name='1e-4'", "tracking.experiment='null'", "tracking.model_name='on'", 'dataset.name="it\'s"'],
        ["tracking.run_name=''", "dataset.cache_dir=${oc.env:HOME}/x", "dataset.name='ünï #1'", "tracking.uri='5%'"],
        ["tracking=none", "augment=none", "augment.zoom=[0.8,1.2]", "augment.mean=[0.5,0.4,0.3]", "scheduler=cosine"],
        ["+loss.extra=2.5", "++loss.other={a:1,b:[x,null]}", "+new.key.deep=true", "optimizer.betas=[0.8,0.99]"],
        ["dataset.name=a", "dataset.name=b", "loss=focal", "loss.gamma=.inf"],
        ["experiment=galaxy10_small"],
        ["experiment=galaxy10_small", "backbone=custom6conv", "loss=focal", "trainer.epochs=9", "augment.noise=0.0"],
        ["experiment=[quickstart,seed_galaxy10]", "augment=dihedral", "loss.gamma=0.5"],
        ["optimizer={lr:0.5,betas:[0.5,0.6]}", "loss=focal", "loss={gamma:1}"],
    ],
)
def test_the_experiment_composes_what_the_overrides_composed(overrides, tmp_path):
    path = write_experiment(tmp_path / "experiment" / "galaxy10_best.yaml", overrides, "Trial 7.\nOf 30: the best.")
    assert path.read_text().startswith("# @package _global_\n# Trial 7.\n# Of 30: the best.\n")
    assert composed("experiment=galaxy10_best", folder=tmp_path) == composed(*overrides)


@pytest.mark.parametrize("sweep", ["galaxy10", "astro8"])
def test_what_steers_a_sweep_is_left_out(sweep, tmp_path):
    overrides = [f"sweep={sweep}", "hydra.sweeper.n_trials=3", "hydra/sweeper/sampler=random", "loss=focal"]
    path = write_experiment(tmp_path / "best.yaml", overrides, "")
    assert path.read_text() == "# @package _global_\ndefaults:\n- override /loss: focal\n"
    plain, without = composed(f"sweep={sweep}"), composed()
    assert plain == without  # the project's search spaces hold nothing that a trial would miss


@pytest.mark.parametrize("override", ["optimizer.betas.0=0.8", "optimizer.betas[0]=0.8"])
def test_one_element_of_a_list_is_kept_in_its_list(override, tmp_path):
    expected = composed(override)
    path = tmp_path / "experiment" / "best.yaml"
    write_experiment(path, [override], "", expected)
    assert composed("experiment=best", folder=tmp_path) == expected
    with pytest.raises(ConfigError, match=r"give the whole list, optimizer.betas="):
        write_experiment(path, [override], "")


def test_a_key_that_was_taken_away_cannot_be_kept(tmp_path):
    with pytest.raises(ConfigError, match="~trainer.patience cannot be kept in best.yaml"):
        write_experiment(tmp_path / "best.yaml", ["~trainer.patience"], "")
    assert not list(tmp_path.iterdir())
