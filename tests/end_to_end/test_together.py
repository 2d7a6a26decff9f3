"""One training in two processes, as `torchrun` starts them: one run, one record, one message; killed, it goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed import run as torchrun

from astroclf.engine.checkpoint import load_checkpoint
from astroclf.evaluation.history import read_history
from tests.end_to_end.conftest import SMALL, only_run
from tests.processes import free_port, wait_for
from tests.two_ranks import COUNT, environment

TORCHRUN = (sys.executable, "-m", torchrun.__name__)
LONG = (*SMALL, "trainer.epochs=12", "tracking.register=false")
ENOUGH = 240  # seconds


@pytest.fixture
def together(tmp_path, clean_environment):
    """Start a verb by `torchrun` in a folder of its own, as the leader of a process group."""
    begun = []

    def start(
        *words: str, verb: str = "train", options: tuple[str, ...] = (f"--nproc-per-node={COUNT}",)
    ) -> subprocess.Popen:
        command = [*TORCHRUN, *options, "-m", f"astroclf.{verb}", *words]
        own = clean_environment | {"OMP_NUM_THREADS": "1"}  # torchrun says so at length where it chooses it
        begun.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env=own,
                start_new_session=True,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for_checkpoint(folder: Path, process: subprocess.Popen) -> None:
    wait_for(lambda: [*folder.glob("experiments/runs/*/*/checkpoints/last.pt")], process)


def is_open(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as tried:
        return tried.connect_ex((host, int(port))) == 0


def workers(process: subprocess.Popen) -> dict[int, int]:
    """The processes that a `torchrun` has started, by their ranks."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PPid:\t{process.pid}\n" not in (folder / "status").read_text():
                continue
            of = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [int(entry[5:]) for entry in of if entry.startswith(b"RANK=")]
        found |= {rank: int(folder.name) for rank in ranks}
    return found


@pytest.mark.slow
def test_two_processes_leave_one_run_and_one_record(together, tmp_path):
    import mlflow

    process = together(*SMALL, "trainer.epochs=2")
    out, err = process.communicate(timeout=ENOUGH)
    assert process.returncode == 0, err
    assert "2 processes share each batch of 16 images." in out
    assert out.count("epoch 2.00") == 1
    assert "Traceback" not in err
    assert "Warning" not in err
    run = only_run(tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["train/steps"] == 2 * (98 // 16)
    assert (
        (run / "config.yaml").read_text().startswith("# torchrun --nproc-per-node=2 -m astroclf.train dataset.samples")
    )
    assert (run / "train.log").read_text().count("epoch 2.00") == 1
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    (record,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert record.info.status == "FINISHED"
    assert record.data.metrics["test/accuracy"] == pytest.approx(metrics["test/accuracy"])


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_is_started_again_and_all_go_on(together, tmp_path, rank):
    process = together(*LONG, options=("--nproc-per-node=2", "--max-restarts=1"))
    wait_for_checkpoint(tmp_path, process)
    os.kill(workers(process)[rank], signal.SIGKILL)
    out, err = process.communicate(timeout=ENOUGH)
    assert process.returncode == 0, err
    run = only_run(tmp_path)
    assert "Resumed after step" in out
    told = err.count("Go on with:") + err.count("goes on by itself; by hand")
    assert (
        told == 1 if rank == 1 else told <= 1
    )  # where the first one is killed, the other may be ended before it speaks
    assert "Traceback" not in err
    assert read_history(run / "history.csv")["epoch"].tolist() == [*range(1, 13)]
    assert (run / "metrics.json").is_file()


@pytest.mark.slow
def test_where_a_host_dies_the_other_goes_on_alone(together, tmp_path):
    endpoint = f"127.0.0.1:{free_port()}"
    options = (
        "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", "--rdzv-id=night",
        f"--rdzv-endpoint={endpoint}", "--rdzv-conf=last_call_timeout=5",
    )  # fmt: skip
    first = together(*LONG, options=options)  # it holds the meeting point
    wait_for(lambda: is_open(endpoint), first)
    second = together(*LONG, options=options)
    wait_for_checkpoint(tmp_path, first)
    on_second = workers(second)
    assert len(on_second) == 1
    second.kill()
    for process in on_second.values():
        os.kill(process, signal.SIGKILL)
    out, err = first.communicate(timeout=ENOUGH)
    assert first.returncode == 0, err
    run = only_run(tmp_path)
    assert out.count("2 processes share each batch") == 1
    assert "Resumed after step" in out
    assert read_history(run / "history.csv")["epoch"].tolist() == [*range(1, 13)]


@pytest.mark.slow
def test_ctrl_c_saves_all_says_it_once_and_one_process_goes_on(together, train, tmp_path):
    process = together(*LONG)
    wait_for_checkpoint(tmp_path, process)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=ENOUGH)
    assert process.returncode != 0
    assert err.count("all is saved. Go on with:") == 1
    run = only_run(tmp_path)
    assert f"torchrun --nproc-per-node=2 -m astroclf.train resume={run.relative_to(tmp_path)}" in err
    step = load_checkpoint(run / "checkpoints" / "last.pt")["train_state"]["step"]
    done = train(f"resume={run}")
    assert done.returncode == 0, done.stderr
    assert f"Resumed after step {step}" in done.stdout
    assert read_history(run / "history.csv")["epoch"][-1] == 12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "words", "said"),
    [
        ("train", ["trainer.epoch=3"], "Did you mean 'trainer.epochs'?"),
        ("train", ["-m", *SMALL, "seed=1,2"], "Leave torchrun out."),
        ("check", ["galaxy10_sim"], "Leave torchrun out."),
        ("train", [*SMALL, "trainer.batch_size=1"], "A batch of 1 images cannot be shared by 2 processes"),
        ("train", [*SMALL, "trainer.batch_size=3", "head.refinement=true"], "which share its images: BatchNorm"),
        ("train", [*SMALL, "trainer.sync_batchnorm=true"], "on GPUs alone."),
    ],
)
def test_what_cannot_be_is_said_once_and_leaves_nothing(together, tmp_path, verb, words, said):
    process = together(*words, verb=verb)
    _, err = process.communicate(timeout=ENOUGH)
    assert process.returncode != 0
    assert err.count("Error: ") - err.count("ChildFailedError: ") == 1
    assert said in " ".join(err.split())
    assert not (tmp_path / "experiments" / "runs").exists()


BROKEN = """
import sys
from astroclf import train
from astroclf.errors import DeviceError
from astroclf.run import parts

def broken(name):
    raise DeviceError("The GPU of this host is not well.")

parts.choose_device = broken
sys.exit(train.main())
"""


@pytest.mark.slow
def test_a_process_that_fails_alone_says_why_and_ends_all(tmp_path, clean_environment):
    port = free_port()
    begun = [
        subprocess.Popen(
            [sys.executable, *command, *SMALL], cwd=tmp_path, env=clean_environment | environment(rank, port),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank, command in enumerate((["-m", "astroclf.train"], ["-c", BROKEN]))
    ]  # fmt: skip
    (out, of_first), (nothing, of_second) = (process.communicate(timeout=ENOUGH) for process in begun)
    assert [process.returncode for process in begun] == [1, 1]
    assert of_second == "Error: The GPU of this host is not well.\n"
    assert not nothing
    assert "Another of the 2 processes that share this training ended, and so all do." in " ".join(of_first.split())
    assert "Traceback" not in of_first
    assert out
