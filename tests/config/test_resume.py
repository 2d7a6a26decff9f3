"""What a resumed run takes from its folder, and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from astroclf.config.resume import resumed_config, split_changes
from astroclf.errors import ConfigError
from astroclf.settings.config import Config
from tests.config.test_validate import config


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that was stopped."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").touch()
    (folder / "config.yaml").write_text("# python -m astroclf.train seed=1\n" + OmegaConf.to_yaml(config().to_plain()))
    return folder


def test_changes_are_told_from_what_is_for_hydra():
    arguments = ["resume=a", "trainer.epochs=3", "hydra.verbose=true", "--cfg=job", "-m"]
    assert split_changes(arguments) == (["resume=a", "hydra.verbose=true", "--cfg=job", "-m"], ["trainer.epochs=3"])
    prefixed = ["~trainer.patience", "+trainer.epochs=3", "++trainer.epochs=3"]
    assert split_changes(["++resume=a", *prefixed]) == (["++resume=a"], prefixed)
    assert split_changes(["trainer.epochs=3"]) == (["trainer.epochs=3"], [])


def test_the_run_keeps_its_own_config(run):
    config = resumed_config(Config, run, str(run), ["trainer.epochs=99", "tracking.uri=sqlite:///x.db"])
    assert config.trainer.epochs == 99
    assert config.tracking.uri == f"sqlite:///{Path('x.db').absolute()}"  # found again from anywhere
    assert config.dataset.name == "galaxy10_sim"


def test_tracking_can_be_switched_off(run):
    assert resumed_config(Config, run, str(run), ["tracking=none"]).tracking.target.endswith("NullTracker")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trainer.batch_size=8", "cannot change in a resumed run"),
        ("loss=focal", "cannot change in a resumed run"),
        ("loss.soft_labels=true", "cannot change in a resumed run"),
        ("seed=2", "cannot change in a resumed run"),
        ("trainer.epoch=8", "Did you mean 'trainer.epochs'"),
        ("trainer.epochs=0", "at least 1"),
        ("~trainer.patience", "'~trainer.patience' cannot be: .* Write trainer.patience=..., with null"),
        ("~trainer.patience=null", "gets no keys and loses none"),
        ("+trainer.epochs=9", "gets no keys and loses none"),
        ("++trainer.epochs=9", "gets no keys and loses none"),
        ("trainer=debug", "'trainer' cannot change in a resumed run"),
        ("experiment=quickstart", "'experiment' cannot change in a resumed run"),
        ("evaluation=full", "'evaluation' cannot change in a resumed run"),
        ("tracking=mlflow", "'tracking' cannot change in a resumed run"),
        ("tracking.experiment=other", "'tracking.experiment' cannot change in a resumed run"),
        ("tracking.run_name=other", "'tracking.run_name' cannot change in a resumed run"),
    ],
)
def test_what_would_make_it_another_run_is_refused(run, change, says):
    with pytest.raises(ConfigError, match=says):
        resumed_config(Config, run, str(run), [change])


def test_epochs_between_validations_change_nothing_where_steps_are_counted(run):
    steps = "trainer.validate_every_steps"
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("validate_every_steps: null", "validate_every_steps: 7"))
    with pytest.raises(ConfigError, match=rf"validates every 7 steps\. Add {steps}=null"):
        resumed_config(Config, run, str(run), ["trainer.validate_every=0.5"])
    trainer = resumed_config(Config, run, str(run), [f"{steps}=null", "trainer.validate_every=0.5"]).trainer
    assert (trainer.validate_every, trainer.validate_every_steps) == (0.5, None)


def test_a_complete_run_takes_no_changes(run):
    (run / "metrics.json").write_text('{"val/accuracy": 0.5, "test/accuracy": 0.4}')
    resumed_config(Config, run, str(run), [])
    with pytest.raises(ConfigError, match="is complete"):
        resumed_config(Config, run, str(run), ["trainer.epochs=99"])


def test_a_trial_of_a_sweep_which_is_not_tested_yet_takes_changes(run):
    (run / "metrics.json").write_text('{"val/accuracy": 0.5}')
    assert resumed_config(Config, run, str(run), ["evaluation.tta_views=8"]).evaluation.tta_views == 8


def test_a_run_of_another_version_is_refused_in_one_sentence(run):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("monitor:", "objective:"))
    with pytest.raises(ConfigError, match=r"cannot go on with this version of astroclf\. 'objective' is no key"):
        resumed_config(Config, run, str(run))


def test_a_key_that_is_new_since_and_may_change_gets_its_default(run, caplog):
    path = run / "config.yaml"
    kept = OmegaConf.load(path)
    for section, key in (("trainer", "sync_batchnorm"), ("trainer", "save_every_minutes"), ("evaluation", "tta_views")):
        del kept[section][key]
    OmegaConf.save(kept, path)
    config = resumed_config(Config, run, str(run), ["trainer.save_every_minutes=3"])
    assert (config.trainer.sync_batchnorm, config.trainer.save_every_minutes) == (False, 3.0)
    assert config.evaluation.tta_views == 1
    said = "The run began with a version that had no trainer.sync_batchnorm: it goes on with false, the default."
    assert said in caplog.messages
    del kept["trainer"]["batch_size"]  # which makes it another run
    OmegaConf.save(kept, path)
    with pytest.raises(ConfigError, match=r"lacks trainer\.batch_size\. Go on with the version that began it"):
        resumed_config(Config, run, str(run))
