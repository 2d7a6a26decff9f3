"""Jobs of SLURM as workers of a sweep: what is asked of SLURM, and what its states mean.

The commands of SLURM are stand-ins here; `tests/clusters` runs a real one.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import cloudpickle
import pytest

from astroclf.config.validate import typed_section
from astroclf.errors import ConfigError, SweepError
from astroclf.settings.sweep import SlurmSettings
from astroclf.sweep import slurm
from astroclf.sweep.slurm import JobQueue, SlurmWorkers, check_slurm
from tests.sweep.test_samplers import chosen

pytest.importorskip("submitit", reason="needs submitit: pip install 'astroclf[slurm]'")


def settings(*changes: str) -> SlurmSettings:
    overrides = [re.sub(r"^(\+?)", r"\1hydra.sweeper.slurm.", change) for change in changes]
    return typed_section(SlurmSettings, chosen(*overrides)["slurm"])


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Path:
    """A folder of SLURM's commands: jobs are 1, 2, ..., and `states` says what squeue tells of them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "sbatch": "echo x >> count; cp $1 script; echo Submitted batch job $(wc -l < count)",
        "squeue": "cat states",
        "scancel": "echo $@ >> cancelled",
        "srun": "exit 1",
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {folder}\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / "states").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "RESULT_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "CANCEL_SECONDS", 0.0)
    return folder


def workers(folder: Path, count: int = 1, *changes: str) -> SlurmWorkers:
    return SlurmWorkers.of(settings(*changes), b"plan", folder, count)


def test_a_job_asks_for_what_the_keys_say(commands, tmp_path):
    worker = workers(
        tmp_path / "night", 1, "partition=gpu", "account=astro", "minutes=90", "gpus=2", "cpus=3", "mem_gb=20",
        "setup=[module load cuda]", "+options.constraint=a100", "save_seconds=60",
    )(0)  # fmt: skip
    worker.send("trials")
    lines = (commands / "script").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert {
        "partition=gpu", "account=astro", "time=90", "gpus-per-node=2", "cpus-per-task=3", "mem=20GB",
        "constraint=a100", "signal=USR2@60", "requeue",
    } <= asked  # fmt: skip
    assert "module load cuda" in lines
    assert any(line.startswith("srun") and "--cpus-per-task=3" in line for line in lines)
    worker = workers(tmp_path / "night", 1, "gpus=0", "mem_gb=null")(0)
    worker.send("trials")
    assert "gpus" not in (commands / "script").read_text()
    assert "--mem" not in (commands / "script").read_text()


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("PENDING", None),
        ("RUNNING", None),
        ("COMPLETING", None),
        ("REQUEUED", None),
        ("CANCELLED", ("interrupted", None)),
        ("PREEMPTED", ("lost", "job 1: PREEMPTED")),
        ("NODE_FAIL", ("lost", "job 1: NODE_FAIL")),
        ("OUT_OF_MEMORY", ("died", "job 1: OUT_OF_MEMORY")),
        ("TIMEOUT", ("died", "job 1: TIMEOUT")),
        ("FAILED", ("died", "job 1: FAILED")),
        ("", ("died", "job 1: GONE")),
    ],
)
def test_a_job_without_a_result_is_known_by_its_state(commands, tmp_path, state, answer):
    worker = workers(tmp_path / "night")(0)
    worker.send("trials")
    (commands / "states").write_text(f"1 {state}\n" if state else "")
    assert worker.answer() == answer
    assert worker.busy == (answer is None)


def test_a_result_counts_before_any_state(commands, tmp_path):
    worker = workers(tmp_path / "night")(0)
    worker.send("test", "best")
    (commands / "states").write_text("1 RUNNING\n")
    worker.job.paths.result_pickle.write_bytes(cloudpickle.dumps(("success", ("done", {"test/accuracy": 1.0}))))
    assert worker.answer() == ("done", {"test/accuracy": 1.0})
    worker.send("trials")
    worker.job.paths.result_pickle.write_bytes(cloudpickle.dumps(("error", "Traceback ...\nValueError: a plan")))
    kind, how = worker.answer()
    assert kind == "died"
    assert "ValueError: a plan" in how


def test_a_job_that_ended_well_is_waited_for_until_its_result_is_seen(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "RESULT_SECONDS", 0.3)
    worker = workers(tmp_path / "night")(0)
    worker.send("trials")
    (commands / "states").write_text("1 COMPLETED\n")
    assert worker.answer() is None
    time.sleep(0.3)
    assert worker.answer() == ("died", "job 1: COMPLETED")


def test_nothing_is_said_of_a_job_while_slurm_does_not_answer(commands, tmp_path):
    worker = workers(tmp_path / "night")(0)
    worker.send("trials")
    (commands / "states").unlink()
    assert worker.answer() is None


def test_a_refused_job_is_told_in_the_words_of_slurm(commands, tmp_path):
    (commands / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition specified: gpu >&2; exit 1\n")
    with pytest.raises(SweepError, match="invalid partition specified: gpu.* hydra.sweeper.slurm"):
        workers(tmp_path / "night")(0).send("trials")


def test_a_job_that_slurm_does_not_take_yet_is_submitted_when_it_does(commands, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(slurm, "RETRY_SECONDS", 0.2)
    both = workers(tmp_path / "night", 2)
    first, second = both(0), both(1)
    first.send("trials")
    takes = (commands / "sbatch").read_text()
    (commands / "sbatch").write_text("#!/bin/sh\necho sbatch: error: QOSMaxSubmitJobPerUserLimit >&2; exit 1\n")
    second.send("trials")
    assert (second.busy, second.job, second.answer()) == (True, None, None)
    (commands / "sbatch").write_text(takes)
    assert (second.answer(), second.job) == (None, None)  # not every second
    time.sleep(0.2)
    second.answer()
    assert second.job.job_id == "2"
    assert ["QOSMaxSubmitJobPerUserLimit" in record.message for record in caplog.records] == [True]


def test_jobs_of_a_killed_coordinator_are_taken_up_and_those_of_a_living_one_are_not(commands, tmp_path):
    first = workers(tmp_path / "night", 3)
    began = [first(number) for number in range(3)]
    for worker in began:
        worker.send("trials")
    left = first(3)
    left.send("test", "best")
    (commands / "states").write_text("1 RUNNING\n2 PENDING\n3 RUNNING\n4 RUNNING\n")
    other = workers(tmp_path / "night", 2)
    assert [other(number).busy for number in range(2)] == [False, False]
    del first._alone  # as the end of its process does
    second = workers(tmp_path / "night", 2)
    taken = [second(number) for number in range(3)]
    assert [worker.busy for worker in taken] == [True, True, False]
    assert [worker.key for worker in taken[:2]] == [worker.key for worker in began[:2]]
    assert (commands / "cancelled").read_text().split() == ["3", "4"]  # one too many, and a test


def test_only_jobs_of_the_same_sweep_are_meant(commands, tmp_path):
    names = [workers(tmp_path / place / "night, the first").queue.name for place in ("one", "other")]
    assert names[0] != names[1]
    assert all(name.startswith("astroclf-night--the-first-") for name in names)
    (commands / "states").write_text("7 RUNNING\n8 FAILED\n")
    assert JobQueue("any").going() == ["7"]


def test_what_is_missing_is_said_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="needs SLURM's commands sbatch and srun"):
        check_slurm()
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'astroclf\[slurm\]'"):
        check_slurm()


def test_a_time_limit_without_time_to_train_is_refused():
    with pytest.raises(ConfigError, match=r"hydra.sweeper.slurm.minutes=3 leaves no time to train.*120 \+ 60 seconds"):
        settings("minutes=3")
