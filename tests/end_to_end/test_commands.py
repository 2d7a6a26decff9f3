"""Recorded commands, pasted into a shell in the same folder, do what they say: of runs, of trials, of whole sweeps."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from tests.end_to_end.conftest import SMALL

ODD = 'it\'s "odd" – é, $HOME `x` #1'
ARGUMENTS = (
    "--config-dir", "my conf", "--config-dir", "more", "dataset=mine", "experiment=own", *SMALL[1:],
    f"tracking.run_name={ODD}", "augment.mean=[0.5,0.4,0.3]", "++optimizer={lr:0.002,betas:[0.8,0.99]}",
    "hydra.searchpath=[file://third]",
)  # fmt: skip


@pytest.fixture
def own_yaml(tmp_path: Path) -> None:
    """Choices in three folders of the user's own."""
    for name, text in {
        "my conf/dataset/mine.yaml": "defaults: [galaxy10_sim]\nsamples: 140\nname: my galaxies\n",
        "more/experiment/own.yaml": "# @package _global_\ndefaults: [override /loss: quiet]\nseed: 3\n",
        "third/loss/quiet.yaml": "defaults: [cross_entropy]\nlabel_smoothing: 0.2\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)


@pytest.fixture
def composed(shell):
    """Paste a command, and return the configuration that it would train with."""

    def compose(command: str) -> dict:
        done = shell(f"{command} --cfg job --resolve")
        assert done.returncode == 0, command + done.stderr
        return comparable(done.stdout)

    return compose


def comparable(text: str) -> dict:
    """A configuration without the places that a run's own has as absolute paths."""
    config = yaml.safe_load(text)
    return config | {"tracking": {"run_name": config["tracking"]["run_name"]}}


@pytest.mark.slow
def test_the_command_of_a_run_trains_the_same_again_in_a_folder_of_its_own(own_yaml, shell, composed, tmp_path):
    last = ("tracking.register=false", "trainer.max_steps=0", "hydra.run.dir=out")
    done = shell(shlex.join(["python", "-m", "astroclf", "train", *ARGUMENTS[:-1], *last, ARGUMENTS[-1]]))
    assert done.returncode == 0, done.stderr
    first, _, config = (tmp_path / "out" / "config.yaml").read_text().partition("\n")
    command = first.removeprefix("# ")
    assert "hydra.run.dir" not in command
    assert composed(command) == comparable(config)
    assert comparable(config)["loss"]["label_smoothing"] == 0.2


@pytest.mark.slow
def test_all_commands_that_a_sweep_records_run_when_they_are_pasted(own_yaml, shell, composed, tmp_path):
    swept = ("-m", "scheduler.warmup_fraction=0.2,0.3", "trainer.epochs=1", "hydra/sweeper/pruner=none")
    done = shell(shlex.join(["astroclf", "train", *ARGUMENTS, *swept]))
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "experiments" / "sweeps").iterdir()
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, uri)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    for trial in ("0", "1"):
        first, _, config = (sweep / trial / "config.yaml").read_text().partition("\n")
        (tagged,) = [run.data.tags["command"] for run in runs if run.data.tags.get("sweep.trial") == trial]
        assert tagged == first.removeprefix("# ")
        assert composed(tagged) == comparable(config)
    best = parent.data.tags["best.trial"]
    trained = comparable((sweep / best / "config.yaml").read_text())
    (comment,) = re.findall(r"^# (astroclf train .*)$", (sweep / "conf/experiment/best.yaml").read_text(), re.M)
    assert f"  {comment}\n" in done.stdout
    assert composed(comment) == trained

    other = shell(re.findall(r"Test and register another trial.*\n  (.*)$", done.stdout, re.M)[0])
    assert other.returncode == 0, other.stderr
    assert len(list(sweep.rglob("predictions.csv"))) == 2
    again = shell(parent.data.tags["command"])  # goes on with the study, in which nothing is left to do
    assert again.returncode == 0, again.stderr
    assert "all 2 combinations, 2 of them finished" in again.stdout
    assert len(client.search_runs([parent.info.experiment_id])) == 3
