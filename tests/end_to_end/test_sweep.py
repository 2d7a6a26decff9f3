"""Sweeps by the real command: nested runs, one tested winner, refusals, and kills that lose nothing."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from tests.end_to_end.conftest import SMALL

SWEEP = ("-m", *SMALL, "trainer.epochs=2", "hydra.sweeper.study_name=night")


def trials_of(folder: Path, study: str = "night") -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=study, storage=f"sqlite:///{folder}/experiments/optuna.db").trials


def runs_of(folder: Path) -> tuple[list, list]:
    """The MLflow runs of sweeps, and those nested in them."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    return parents, [run for run in runs if run not in parents]


def test_a_sweep_leaves_nested_runs_and_only_its_winner_is_tested(train, tmp_path):
    done = train(
        *SWEEP, "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "loss=focal,cb_focal", "hydra.sweeper.n_trials=2",
        "dataset.samples=60", "dataset.image_size=16", "trainer.epochs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = tmp_path / "experiments" / "sweeps" / "night"
    trials = trials_of(tmp_path)
    assert len(trials) == 2
    (parent,), children = runs_of(tmp_path)
    assert parent.info.status == "FINISHED"
    assert sorted(run.data.tags["sweep.trial"] for run in children) == ["0", "1"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    best = max((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: t.value)
    for trial in trials:
        folder = sweep / str(trial.number)
        tested = (folder / "predictions.csv").exists()
        assert tested == (trial.number == best.number)
        if trial.state == TrialState.COMPLETE:
            assert ("test/accuracy" in json.loads((folder / "metrics.json").read_text())) == tested
    assert parent.data.tags["best.trial"] == str(best.number)
    assert parent.data.tags["best.model"] == "models:/galaxy10_sim/1"
    assert parent.data.metrics["best/val/accuracy"] == pytest.approx(best.value)
    assert {"history.png", "trials.csv"} <= {path.name for path in (sweep / "plots").iterdir()}
    assert "models:/galaxy10_sim/1" in done.stdout
    assert "astroclf.train --config-dir=" in done.stdout


@pytest.mark.slow
def test_the_best_is_trained_again_by_its_file_and_another_search_is_refused(train, tmp_path):
    done = train(*SWEEP, "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "hydra.sweeper.n_trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = tmp_path / "experiments" / "sweeps" / "night"
    best = max(trials_of(tmp_path), key=lambda trial: trial.value or 0)
    again = train(f"--config-dir={sweep / 'conf'}", "experiment=best", "trainer.max_steps=1", "tracking=none")
    assert again.returncode == 0, again.stderr
    config = next((tmp_path / "experiments" / "runs").rglob("config.yaml")).read_text()
    assert f"lr: {best.params['optimizer.lr']}" in config

    other = train(*SWEEP, "optimizer.lr=interval(1e-4, 1e-3)", "hydra.sweeper.n_trials=2")
    assert other.returncode == 1
    assert "search optimizer.lr" in other.stderr
    assert "study_name" in other.stderr
    assert len(trials_of(tmp_path)) == 2


def test_what_no_trial_can_have_is_said_before_the_first(typed, tmp_path):
    done = typed(shlex.join(["astroclf", "train", *SWEEP, "backbone=resnet18,resnet19"]))
    assert done.returncode == 1
    assert "no backbone called 'resnet19'. Did you mean 'resnet18' or 'resnet18_d4'?" in " ".join(done.stderr.split())
    done = typed(shlex.join(["astroclf", "train", *SWEEP, "loss=focal", "loss.gamma=interval(-1, 2)"]))
    assert done.returncode == 1
    assert "loss.gamma" in done.stderr
    assert not (tmp_path / "experiments" / "optuna.db").exists()


@pytest.mark.slow
def test_a_trial_that_diverges_fails_alone_and_a_sweep_of_such_ends(train, tmp_path):
    done = train(
        *SWEEP, "optimizer.lr=0.001,1e30", "trainer.grad_clip_norm=null", "trainer.max_nonfinite_steps=2",
        "trainer.precision=fp32", "hydra.sweeper.max_failure_rate=1.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert "finite" in trials[1].user_attrs["reason"]
    _, children = runs_of(tmp_path)
    assert Counter(run.info.status for run in children) == {"FINISHED": 1, "FAILED": 1}
    assert "2 combinations" in done.stdout

    hopeless = (
        "-m", *SMALL, "trainer.epochs=1", "optimizer.lr=1e30,2e30,3e30", "trainer.grad_clip_norm=null",
        "trainer.max_nonfinite_steps=2", "trainer.precision=fp32", "tracking=none",
    )  # fmt: skip
    done = train(*hopeless, "hydra.sweeper.max_failure_rate=0.1")
    assert done.returncode == 1
    assert "max_failure_rate=0.1" in done.stderr
    done = train(*hopeless, "hydra.sweeper.max_failure_rate=1")
    assert done.returncode == 1
    assert "came to its end with a finite value (3 failed)" in " ".join(done.stderr.split())


@pytest.mark.slow
def test_ctrl_c_saves_the_trial_and_the_same_command_goes_on(start, tmp_path):
    command = [*SWEEP, "seed=0,1", "trainer.epochs=6", "hydra/sweeper/pruner=none"]
    process = start(*command)
    history = tmp_path / "experiments" / "sweeps" / "night" / "0" / "history.csv"
    end = time.monotonic() + 120
    while not history.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "hydra.sweeper.study_name=night" in err
    before = history.read_text()
    (parent,), children = runs_of(tmp_path)
    assert parent.info.status == "KILLED"
    assert {run.info.status for run in children} == {"KILLED"}

    process = start(*command)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert history.read_text().startswith(before)
    parents, children = runs_of(tmp_path)
    assert len(parents) == 1
    assert sorted(run.data.tags["sweep.trial"] for run in children) == ["0", "1"]
    assert {run.info.status for run in [*parents, *children]} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_sweep_killed_five_times_ends_as_if_it_had_not_been(tmp_path, clean_environment, seed):
    """kill -9, of the whole group or of the coordinator alone, at random moments."""
    rng = random.Random(seed)
    command = [
        sys.executable, "-m", "astroclf.train", *SWEEP, "trainer.epochs=4", "backbone=resnet18,custom6conv",
        "optimizer.lr=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_trials=12", "hydra.sweeper.n_jobs=2",
    ]  # fmt: skip
    command.remove("backbone=custom6conv")
    for kill in range(6):
        with (tmp_path / f"start-{kill}.txt").open("w") as log:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=clean_environment, stdout=log, stderr=log, start_new_session=True
            )
        try:
            process.wait(600 if kill == 5 else rng.uniform(8, 30))
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL) if kill % 2 else process.kill()
            process.wait()
    assert process.returncode == 0, (tmp_path / f"start-{kill}.txt").read_text()
    trials = trials_of(tmp_path)
    assert len(trials) == 12
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    folders = {path.name for path in (tmp_path / "experiments" / "sweeps" / "night").iterdir() if path.name.isdigit()}
    assert folders == {str(number) for number in range(12)}
    (parent,), children = runs_of(tmp_path)
    assert parent.info.status == "FINISHED"
    assert sorted(int(run.data.tags["sweep.trial"]) for run in children) == list(range(12))
    pruned = {str(trial.number) for trial in trials if trial.state == TrialState.PRUNED}
    assert {run.data.tags["sweep.trial"] for run in children if run.info.status == "KILLED"} == pruned
    assert {run.info.status for run in children if run.data.tags["sweep.trial"] not in pruned} <= {"FINISHED"}


@pytest.mark.slow
def test_eight_processes_start_one_study_on_fresh_databases(tmp_path, clean_environment):
    command = [
        sys.executable, "-m", "astroclf.train", *SWEEP, "trainer.max_steps=2", "optimizer.lr=interval(1e-4,1e-2)",
        "hydra.sweeper.n_trials=16",
    ]  # fmt: skip
    processes = [
        subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(8)
    ]
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, outputs
    assert len(trials_of(tmp_path)) == 16
    parents, children = runs_of(tmp_path)
    assert len(parents) == 1
    assert sorted(int(run.data.tags["sweep.trial"]) for run in children) == list(range(16))
    assert {run.info.status for run in [*parents, *children]} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_its_trial_goes_on(start, tmp_path):
    process = start(*SWEEP, "seed=0,1,2", "trainer.epochs=5", "hydra.sweeper.n_jobs=2", "hydra/sweeper/pruner=none")
    history = tmp_path / "experiments" / "sweeps" / "night" / "0" / "history.csv"
    end = time.monotonic() + 300
    while not history.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    assert "ended unexpectedly (SIGKILL" in out
    assert [trial.state for trial in trials_of(tmp_path)] == [TrialState.COMPLETE] * 3
    assert sum(trial.user_attrs.get("deaths", 0) for trial in trials_of(tmp_path)) == 1
    _, children = runs_of(tmp_path)
    assert sorted(run.data.tags["sweep.trial"] for run in children) == ["0", "1", "2"]


@pytest.mark.slow
def test_finalists_are_trained_again_and_several_objectives_have_a_front(train, tmp_path):
    done = train(
        *SWEEP, "optimizer.lr=interval(1e-4,1e-2)", "hydra.sweeper.n_trials=3", "hydra.sweeper.finalists=2",
        "hydra.sweeper.finalist_seeds=1", "hydra/sweeper/pruner=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    finalists = sorted(path.name for path in (tmp_path / "experiments/sweeps/night/finalists").iterdir())
    assert len(finalists) == 2
    assert all(name.endswith("-seed1") for name in finalists)
    tested = list((tmp_path / "experiments" / "sweeps" / "night").rglob("predictions.csv"))
    assert len(tested) == 1
    _, children = runs_of(tmp_path)
    assert len(children) == 5

    again = train(
        *SWEEP, "optimizer.lr=interval(1e-4,1e-2)", "hydra.sweeper.n_trials=3", "hydra.sweeper.finalists=2",
        "hydra.sweeper.finalist_seeds=1", "hydra/sweeper/pruner=none",
    )  # fmt: skip
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(runs_of(tmp_path)[1]) == 5  # nothing was trained twice

    front = train(
        "-m", *SMALL, "trainer.epochs=1", "head.refinement=true", "head.hidden=16,64,256", "hydra.sweeper.n_trials=3",
        "hydra.sweeper.objectives=[val/accuracy,model/parameters]", "hydra/sweeper/sampler=nsgaii",
        "hydra/sweeper/pruner=none", "hydra.sweeper.study_name=front",
    )  # fmt: skip
    assert front.returncode == 0, front.stdout + front.stderr
    assert "Pareto front" in front.stdout
    assert [trial.values[1] for trial in trials_of(tmp_path, "front")] == sorted(
        trial.values[1] for trial in trials_of(tmp_path, "front")
    )
    refused = train("-m", *SMALL, "seed=0,1", "hydra.sweeper.objectives=[val/accuracy,val/loss]")
    assert refused.returncode == 1
    assert "hydra/sweeper/pruner=none" in refused.stderr
