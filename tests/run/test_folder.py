"""A run's folder: its names on a command line, its lock, its files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from astroclf.errors import CheckpointError
from astroclf.run.folder import RunFolder, resume_command


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run folder that was stopped."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").touch()
    RunFolder.new(folder).write_config({"seed": 1, "resume": "elsewhere"}, "python -m astroclf.train seed=1")
    return folder


@given(
    st.text(st.characters(blacklist_categories=["C", "Z"], blacklist_characters="\\"), min_size=1) | st.just("a b, c=d")
)
def test_the_printed_command_means_the_folder_again(name):
    folder = Path("runs") / name.replace("/", "_")
    words = shlex.split(resume_command(folder))
    (override,) = OverridesParser.create().parse_overrides(words[-1:])
    assert override.key_or_group == "resume"
    assert override.value() == str(folder)


def test_a_folder_and_a_checkpoint_in_it_name_the_same_run(stopped):
    last = stopped / "checkpoints" / "last.pt"
    assert RunFolder.resumed(str(stopped)) == RunFolder.resumed(str(last)) == RunFolder(stopped, last)
    with pytest.raises(CheckpointError, match="names no run"):
        RunFolder.resumed(str(stopped.parent))


def test_where_one_stands_does_not_matter(stopped, monkeypatch):
    for place, names in (
        (stopped.parent, ["run", "./run", "run/checkpoints/last.pt", "../" + stopped.parent.name + "/run"]),
        (stopped, [".", "checkpoints/last.pt"]),
        (stopped / "checkpoints", ["..", "last.pt", "./last.pt"]),
    ):
        monkeypatch.chdir(place)
        for name in names:
            folder = RunFolder.resumed(name)
            assert folder.path.samefile(stopped)
            assert folder.config_file.is_file()


def test_what_a_killed_process_left_half_written_goes_when_the_run_is_next_worked_on(stopped):
    left = [stopped / ".metrics.0123456789ab.tmp.json", stopped / "checkpoints" / ".last.0123456789ab.tmp.pt"]
    package = stopped / ".model.0123456789ab.tmp"
    package.mkdir()
    (package / "weights.pt").touch()
    for path in left:
        path.touch()
    others = stopped / ".of_people.tmp.txt"
    others.touch()
    with RunFolder.resumed(str(stopped)).locked():
        assert not any(path.exists() for path in [*left, package])
    assert others.exists()
    assert (stopped / "checkpoints" / "last.pt").exists()


def test_a_new_run_has_no_checkpoint_and_no_metrics(tmp_path):
    folder = RunFolder.new(tmp_path / "run")
    assert folder.checkpoint is None
    assert folder.metrics() is None


def test_the_config_is_kept_below_its_command_and_without_what_it_was_resumed_from(stopped):
    folder = RunFolder.resumed(str(stopped))
    assert folder.command() == "python -m astroclf.train seed=1"
    assert folder.config_file.read_text() == "# python -m astroclf.train seed=1\nseed: 1\nresume: null\n"


def test_metrics_come_back_as_they_were_written(stopped):
    folder = RunFolder.resumed(str(stopped))
    folder.write_metrics({"test/accuracy": 0.5, "run/mlflow_id": ""})
    assert folder.metrics() == {"test/accuracy": 0.5, "run/mlflow_id": ""}


def test_metrics_are_valid_json_in_a_fixed_order(stopped):
    folder = RunFolder.resumed(str(stopped))
    folder.write_metrics(
        {
            "test/loss": float("nan"),
            "test/accuracy": np.float32(0.5),
            "run/images": np.int64(3),
            "run/fingerprint": "f00",
        },
    )

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    metrics = json.loads(folder.metrics_file.read_text(), parse_constant=refuse)
    assert metrics == {"run/fingerprint": "f00", "run/images": 3, "test/accuracy": 0.5, "test/loss": None}
    assert list(metrics) == sorted(metrics)
    with pytest.raises(TypeError, match="flat"):
        folder.write_metrics({"nested": {"a": 1}})


def test_a_second_process_is_kept_out_while_the_first_works(tmp_path):
    folder = RunFolder.new(tmp_path / "run")
    with folder.locked(), pytest.raises(CheckpointError, match="Another process is working"), folder.locked():
        pass
    with folder.locked():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match="cannot be written to"),
        RunFolder.new(tmp_path / "file" / "run").locked(),
    ):
        pass


def test_paths_are_shown_from_where_the_user_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder.new(tmp_path / "run").path == Path("run")
    assert RunFolder.new("/elsewhere/run").path == Path("/elsewhere/run")
