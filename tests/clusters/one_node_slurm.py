"""A SLURM of one node on this machine, of Debian's packages `slurm-wlm` and `munge`; needs no rights of root.

A job that is queued again waits for the end of the credential that it had: five seconds here, usually two minutes.
Two partitions of the same node: jobs in `high` take it from those in `low`, which have `GRACE_SECONDS` to make room.
By hand: ``python -m tests.clusters.one_node_slurm`` starts one, and says what to export.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
GRACE_SECONDS = 30
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF
"""


def missing_programs() -> list[str]:
    """List what is not installed."""
    return [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]


@contextmanager
def one_node_slurm(cores: int) -> Iterator[dict[str, str]]:
    """Run a SLURM; yields the environment in which its commands find it."""
    # Not in a folder of pytest's: those are closed to others, which munge minds.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, _servers(Path(folder), cores) as environment:
        yield environment


@contextmanager
def _servers(folder: Path, cores: int) -> Iterator[dict[str, str]]:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname(), user=getpass.getuser(), folder=folder, cores=cores, grace=GRACE_SECONDS,
            controller=free_port(), node=free_port(),
        )
    )  # fmt: skip
    files = {"key-file": key.name, "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    munged = [
        "munged",
        f"--seed-file={folder}/munge.seed",
        *(f"--{key}={folder}/{name}" for key, name in files.items()),
    ]
    environment = os.environ | {"SLURM_CONF": str(config), "PATH": _path()}
    try:
        for command in (munged, ["slurmctld", "-f", str(config)], ["slurmd", "-f", str(config)]):
            subprocess.run(command, env=environment, check=True)
        _wait_until_idle(environment)
        yield environment
    finally:
        subprocess.run(["scancel", "--full", f"--user={getpass.getuser()}"], env=environment, check=False, timeout=60)
        for name in ("slurmd", "slurmctld", "munged"):
            _end(folder / f"{name}.pid")


def _wait_until_idle(environment: dict[str, str]) -> None:
    end = time.monotonic() + 60
    while True:
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], env=environment, check=False, capture_output=True, text=True
        )
        if "idle" in state.stdout:
            return
        assert time.monotonic() < end, state
        time.sleep(0.5)


def _end(pid_file: Path) -> None:
    """End a server, and wait for it."""
    with suppress(OSError, ValueError):
        number = int(pid_file.read_text())
        os.kill(number, signal.SIGTERM)
        for _ in range(100):
            os.kill(number, 0)
            time.sleep(0.1)
        os.kill(number, signal.SIGKILL)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


if __name__ == "__main__":
    if missing := missing_programs():
        sys.exit(f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge")
    with one_node_slurm(os.cpu_count() or 1) as around:
        print(f"export SLURM_CONF={around['SLURM_CONF']}\nCtrl-C ends it.", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()
