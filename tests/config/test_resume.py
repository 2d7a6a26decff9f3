"""What a resumed run takes from its folder, and from the command line."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from astroclf.config.resume import resumed_config, split_changes
from astroclf.errors import CheckpointError, ConfigError
from astroclf.run.folder import first_command, resume_command, resumed_run
from tests.config.test_validate import composed


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that was stopped."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").touch()
    config, _ = composed()
    plain = OmegaConf.to_container(config, resolve=True)
    (folder / "config.yaml").write_text(
        "# python -m astroclf.train seed=1\n" + OmegaConf.to_yaml(OmegaConf.create(plain))
    )
    return folder


@given(
    st.text(st.characters(blacklist_categories=["C", "Z"], blacklist_characters="\\"), min_size=1) | st.just("a b, c=d")
)
def test_the_printed_command_means_the_folder_again(name):
    words = shlex.split(resume_command(Path("runs") / name.replace("/", "_")))
    (override,) = OverridesParser.create().parse_overrides(words[-1:])
    assert override.key_or_group == "resume"
    assert override.value() == f"runs/{name.replace('/', '_')}"


def test_changes_are_told_from_what_is_for_hydra():
    arguments = ["resume=a", "trainer.epochs=3", "hydra.verbose=true", "--cfg=job", "-m"]
    assert split_changes(arguments) == (["resume=a", "hydra.verbose=true", "--cfg=job", "-m"], ["trainer.epochs=3"])
    assert split_changes(["trainer.epochs=3"]) == (["trainer.epochs=3"], [])


def test_the_run_keeps_its_own_config(run):
    config = resumed_config(run, str(run), ["trainer.epochs=99", "tracking.uri=sqlite:///x.db"])
    assert config.trainer.epochs == 99
    assert config.tracking["uri"] == "sqlite:///x.db"
    assert config.dataset["name"] == "galaxy10_sim"
    assert first_command(run) == "python -m astroclf.train seed=1"


def test_tracking_can_be_switched_off(run):
    assert resumed_config(run, str(run), ["tracking=none"]).tracking.target.endswith("NullTracker")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("trainer.batch_size=8", "cannot change in a resumed run"),
        ("loss=focal", "cannot change in a resumed run"),
        ("seed=2", "cannot change in a resumed run"),
        ("trainer.epoch=8", "Did you mean 'trainer.epochs'"),
        ("trainer.epochs=0", "at least 1"),
    ],
)
def test_what_would_make_it_another_run_is_refused(run, change, says):
    with pytest.raises(ConfigError, match=says):
        resumed_config(run, str(run), [change])


def test_a_complete_run_takes_no_changes(run):
    (run / "metrics.json").touch()
    resumed_config(run, str(run), [])
    with pytest.raises(ConfigError, match="is complete"):
        resumed_config(run, str(run), ["trainer.epochs=99"])


def test_a_folder_and_a_checkpoint_in_it_name_the_same_run(run):
    assert resumed_run(str(run)) == resumed_run(str(run / "checkpoints" / "last.pt"))
    with pytest.raises(CheckpointError, match="names no run"):
        resumed_run(str(run.parent))
