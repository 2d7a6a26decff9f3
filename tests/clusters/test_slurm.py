"""A sweep whose workers are jobs of a real SLURM: preempted, out of time, killed, and left by their coordinator."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from tests.clusters.one_node_slurm import missing_programs
from tests.end_to_end.conftest import SMALL
from tests.end_to_end.test_sweep import runs_of, trials_of
from tests.processes import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}"),
]
SWEEP = (
    "-m", *SMALL, "hydra.sweeper.study_name=night", "hydra/sweeper/pruner=none", "hydra.sweeper.n_jobs=2",
    "trainer.patience=null", "hydra.sweeper.workers=slurm", "hydra.sweeper.slurm.gpus=0", "hydra.sweeper.slurm.cpus=1",
    "hydra.sweeper.slurm.mem_gb=null", "hydra.sweeper.slurm.minutes=30", "hydra.sweeper.slurm.partition=low",
)  # fmt: skip


@pytest.fixture
def start(slurm, tmp_path, clean_environment) -> Callable[..., subprocess.Popen]:
    environment = clean_environment | {key: slurm[key] for key in ("SLURM_CONF", "PATH")} | {"OMP_NUM_THREADS": "1"}

    def start_train(*overrides: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "astroclf.train", *overrides]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start_train


def ask(slurm: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=slurm, check=True, capture_output=True, text=True).stdout


def history_of(folder: Path, trial: int) -> list[dict[str, str]]:
    """The validations of a trial; what is trained twice would be there twice."""
    path = folder / "experiments" / "sweeps" / "night" / str(trial) / "history.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def resumed_steps(folder: Path, trial: int) -> list[int]:
    """The steps after which a trial went on: its history alone would be the same if it had begun anew."""
    text = (folder / "experiments" / "sweeps" / "night" / str(trial) / "train.log").read_text()
    return [int(step) for step in re.findall(r"Resumed after step (\d+)", text)]


def finish(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    return out


def log_of(folder: Path) -> str:
    return (folder / "experiments" / "sweeps" / "night" / "sweep.log").read_text()


def jobs_of(folder: Path) -> list[Path]:
    return sorted((folder / "experiments" / "sweeps" / "night" / "workers" / "slurm").glob("*_submitted.pkl"))


def state_of(slurm: dict[str, str], job: str) -> str:
    return ask(slurm, "squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T").strip()


def restarts_of(slurm: dict[str, str], job: str) -> int:
    words = ask(slurm, "scontrol", "show", "job", job).split()
    return int(next(word for word in words if word.startswith("Restarts=")).partition("=")[2])


def goes_on_after(restarts: int, slurm: dict[str, str], job: str, process: subprocess.Popen, folder: Path) -> None:
    wait_for(lambda: restarts_of(slurm, job) >= restarts, process)
    before = len(history_of(folder, 0))
    wait_for(lambda: len(history_of(folder, 0)) > before, process)


def test_a_job_that_is_preempted_requeued_or_out_of_time_goes_on_with_its_trial(slurm, start, tmp_path):
    process = start(
        *SWEEP, "seed=0,1", "trainer.epochs=100000", "hydra.sweeper.n_jobs=1", "hydra.sweeper.slurm.minutes=2",
        "hydra.sweeper.slurm.save_seconds=30",
    )  # fmt: skip
    wait_for(lambda: len(history_of(tmp_path, 0)) > 2, process)
    (job,) = (path.name.partition("_")[0] for path in jobs_of(tmp_path))
    urgent = ask(
        slurm, "sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true"
    ).strip()
    wait_for(lambda: state_of(slurm, urgent) == "COMPLETED", process)
    assert state_of(slurm, job) != "CANCELLED"
    goes_on_after(1, slurm, job, process, tmp_path)  # by the preemption
    goes_on_after(2, slurm, job, process, tmp_path)  # by the time limit
    ask(slurm, "scontrol", "requeue", job)  # as a preemption without a grace does
    goes_on_after(3, slurm, job, process, tmp_path)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "hydra.sweeper.study_name=night" in err
    assert state_of(slurm, job) == "CANCELLED"
    epochs = [float(row["epoch"]) for row in history_of(tmp_path, 0)]
    assert epochs == [float(number) for number in range(1, len(epochs) + 1)]  # none twice, none left out
    steps = resumed_steps(tmp_path, 0)
    assert len(steps) == 3
    assert 0 < steps[0] < steps[1] < steps[2]
    trial, _ = trials_of(tmp_path)
    assert trial.state == TrialState.RUNNING
    assert trial.user_attrs["left"] == trial.user_attrs["claim"]  # saved: who comes next need not wait
    assert "deaths" not in trial.user_attrs
    assert len(jobs_of(tmp_path)) == 1


def test_a_killed_coordinator_takes_its_jobs_up_again_and_a_killed_job_its_trial(slurm, start, tmp_path):
    command = [*SWEEP, "seed=0,1,2", "trainer.epochs=30"]
    killed = start(*command)
    wait_for(lambda: history_of(tmp_path, 0) and history_of(tmp_path, 1), killed)
    killed.kill()
    killed.communicate()
    assert len(jobs_of(tmp_path)) == 2
    process = start(*command)
    wait_for(lambda: "are taken up" in log_of(tmp_path), process)
    victim = trials_of(tmp_path)[1]
    workers = [each for each in psutil.process_iter() if holds(each, Path(victim.user_attrs["folder"]) / ".trial.lock")]
    (worker,) = workers
    worker.kill()
    out = finish(process)
    assert "ended unexpectedly" in out
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    # Counted against its trial, unless another job has taken that before the end of the first was seen.
    assert [trial.user_attrs.get("deaths", 0) for trial in trials] in ([0, 1, 0], [0, 0, 0])
    for number in range(3):
        assert [float(row["epoch"]) for row in history_of(tmp_path, number)] == [float(n) for n in range(1, 31)]
    assert [step > 0 for step in resumed_steps(tmp_path, 1)] == [True]
    _, children = runs_of(tmp_path)
    assert sorted(run.data.tags["sweep.trial"] for run in children) == ["0", "1", "2"]
    assert len(list((tmp_path / "experiments" / "sweeps" / "night").rglob("predictions.csv"))) == 1
    assert len(jobs_of(tmp_path)) <= 5  # two that search, one in place of the killed, the test


def holds(process: psutil.Process, path: Path) -> bool:
    try:
        return any(file.path == str(path) for file in process.open_files())
    except psutil.Error:
        return False


def test_what_slurm_refuses_is_said_in_its_words(slurm, start, tmp_path):
    process = start(*SWEEP, "seed=0,1", "hydra.sweeper.slurm.partition=middle")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "invalid partition specified: middle" in " ".join(err.split())
    assert "hydra.sweeper.slurm" in err
