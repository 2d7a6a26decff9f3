"""Workers of a sweep as jobs of SLURM: submitit writes them down, submits them and queues them again."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from astroclf.engine.signals import terminable
from astroclf.errors import ConfigError, SweepError
from astroclf.settings.sweep import SlurmSettings
from astroclf.sweep.worker import Answer, Worker
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import submitit
else:  # an extra of its own
    submitit = lazy_import("submitit")

POLL_SECONDS = 5.0  # between two questions to SLURM, for all jobs of a sweep together
RESULT_SECONDS = 30.0  # a network disk may show a job's result later than SLURM its end
RETRY_SECONDS = 60.0  # until SLURM is asked again to take a job
CANCEL_SECONDS = 60.0  # until a cancelled job has left the queue
TIMEOUTS = 1_000_000  # how often a job goes on after its time limit: until no trial is left
LOST = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")  # through no fault of what ran
ENDED = (*LOST, "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "GONE")


# ---- in the job ------------------------------------------------------------------------------------------------------


class JobCommand:
    """One command of a sweep, as a job carries it out: saved and queued again at its time limit and when preempted.

    Parameters
    ----------
    plan
        The pickled `SweepPlan`.
    key
        See `SharedStudy.claim`.
    command
        See `Worker.answer`.
    """

    def __init__(self, plan: bytes, key: str, command: tuple[Any, ...]) -> None:
        self.plan, self.key, self.command = plan, key, command

    def __call__(self) -> Answer:
        """Carry out the command; a job that is to end before it is done ends without a result, its trial saved."""
        logging.getLogger().setLevel(logging.INFO)
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # where nothing binds the job to them, torch would take all
            os.environ.setdefault("OMP_NUM_THREADS", cores)
        with _time_limit_as_sigterm() as queue_again, terminable():
            try:
                answer = Worker.begin(self.plan, 1, self.key).answer(self.command)
            except KeyboardInterrupt:  # before there was a worker
                answer = "interrupted", None
            if answer[0] != "interrupted":
                return answer
        if not _is_cancelled():
            queue_again()
        sys.exit(f"{self.command[0]} is saved; this job was told to end.")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Return what the job does when it runs again: the same, which goes on where the folders say."""
        return submitit.helpers.DelayedSubmission(self)


@contextmanager
def _time_limit_as_sigterm() -> Iterator[Any]:
    """Let the signal of a time limit end a training as SIGTERM does, between two steps; yields how to queue again.

    Submitit's own handler writes the job down and queues it again wherever the training stands: it is called later.
    """
    warning = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
    theirs = signal.getsignal(warning)
    signal.signal(warning, lambda number, frame: signal.raise_signal(signal.SIGTERM))
    try:
        yield lambda: theirs(warning, None)  # type: ignore[operator, misc]
    finally:
        signal.signal(warning, theirs)


def _is_cancelled() -> bool:
    """Return whether SLURM ends this job for good, or queues it again by itself; else it only asked it to make room."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    state = _run(["squeue", "--noheader", f"--jobs={job}", "--format=%T"])
    return state is not None and state.strip() != "RUNNING"


# ---- beside the coordinator ------------------------------------------------------------------------------------------


def check_slurm() -> None:
    """Refuse where no job can be submitted.

    Raises
    ------
    ConfigError
        Submitit or SLURM's commands are missing.
    """
    missing, remedy = "", ""
    if importlib.util.find_spec("submitit") is None:
        missing, remedy = "submitit, which is not installed", "pip install 'astroclf[slurm]'"
    elif shutil.which("sbatch") is None or shutil.which("srun") is None:
        missing = "SLURM's commands sbatch and srun, which are not on this machine"
        remedy = "start the sweep where you submit jobs, such as a login node"
    if missing:
        raise ConfigError(
            f"hydra.sweeper.workers=slurm needs {missing}: {remedy}. Or leave it out: the workers are then processes "
            "of this machine."
        )


class JobQueue:
    """What SLURM says of the jobs of one sweep, asked for all of them at once, and every few seconds only.

    It asks squeue, and not sacct as submitit does: many clusters keep no accounts.

    Parameters
    ----------
    name
        Which all jobs of the sweep have, and no others.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._states: dict[str, str] = {}
        self._asked = -POLL_SECONDS

    def state(self, job_id: str, submitted: float) -> str:
        """Return the state of a job; GONE once SLURM has forgotten it, which it does minutes after its end."""
        if time.monotonic() > self._asked + POLL_SECONDS:
            self._ask()
        known = self._asked > submitted + POLL_SECONDS  # at the latest by then it is listed
        return self._states.get(job_id, "GONE" if known else "PENDING")

    def going(self) -> list[str]:
        """Return the ids of all jobs that wait or run."""
        self._ask()
        return [job for job, state in self._states.items() if state not in ENDED]

    def _ask(self) -> None:
        now = time.monotonic()
        listed = _run(["squeue", "--noheader", "--me", "--states=all", f"--name={self.name}", "--format=%i %T"])
        if listed is None:  # SLURM's own trouble says nothing of a job
            return
        self._asked = now
        self._states = dict(line.split(maxsplit=1) for line in listed.splitlines() if line.strip())


class SlurmWorkers:
    """Makes the workers of a sweep, each of which is a job for each command.

    The jobs of a coordinator that was killed go on, and the next one for the same folder takes them up. Of several
    coordinators that live at the same time, each has its own.

    Parameters
    ----------
    executor
        Submitit's, which has the folder of the jobs' files; all nodes see it under the same path.
    plan
        The pickled `SweepPlan`.
    count
        Of the workers.
    """

    def __init__(self, executor: submitit.Executor, queue: JobQueue, plan: bytes, count: int) -> None:
        self.executor, self.queue, self.plan = executor, queue, plan
        executor.folder.mkdir(parents=True, exist_ok=True)
        self.accepted, self.full_until = False, 0.0  # SLURM has taken a job; takes no more until then
        self._alone = FileLock(executor.folder / ".coordinator.lock", timeout=0)
        self._found = self._left_jobs(count)

    @classmethod
    def of(cls, settings: SlurmSettings, plan: bytes, folder: Path, count: int) -> SlurmWorkers:
        """Make those of the sweep in a folder, whose jobs ask SLURM for what the settings say."""
        digest = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:8]
        name = f"astroclf-{re.sub(r'[^A-Za-z0-9_.-]', '-', folder.name)}-{digest}"
        executor = submitit.AutoExecutor(folder / "workers" / "slurm", "slurm", slurm_max_num_timeout=TIMEOUTS)
        executor.update_parameters(
            name=name,
            timeout_min=settings.minutes,
            cpus_per_task=settings.cpus,
            gpus_per_node=settings.gpus or None,
            mem_gb=settings.mem_gb,
            stderr_to_stdout=True,
            slurm_partition=settings.partition,
            slurm_account=settings.account,
            slurm_qos=settings.qos,
            slurm_setup=settings.setup or None,
            slurm_signal_delay_s=settings.save_seconds,
            # Since SLURM 22.05 a step does not inherit its cores; and it would begin its log anew when queued again.
            slurm_srun_args=[f"--cpus-per-task={settings.cpus}", "--open-mode=append"],
            slurm_additional_parameters={"requeue": True, **settings.options},
        )
        return cls(executor, JobQueue(name), plan, count)

    def __call__(self, number: int) -> SlurmWorker:
        """Make a worker: one that has a job which was left, or an idle one."""
        worker = SlurmWorker(self, number)
        if self._found:
            worker.take_up(self._found.pop(0))
        return worker

    def _left_jobs(self, count: int) -> list[submitit.Job[Answer]]:
        """Find so many jobs that search and were left by a coordinator that was killed; cancel its others."""
        try:
            self._alone.acquire()
        except Timeout:  # it lives
            return []
        going: list[submitit.Job[Answer]] = [
            submitit.SlurmJob(self.executor.folder, job_id) for job_id in self.queue.going()
        ]
        jobs = [job for job in going if job.paths.submitted_pickle.exists()]
        wanted = [job for job in jobs if _command_of(job).command == ("trials",)][:count]
        others = {job.job_id: job for job in jobs if job not in wanted}  # tests and finalists are asked for anew
        for job in others.values():
            job.cancel(check=False)
        end = time.monotonic() + CANCEL_SECONDS
        while others.keys() & set(self.queue.going()) and time.monotonic() < end:
            time.sleep(1)
        if wanted:
            log.info("%d jobs of this sweep wait or run already, and are taken up.", len(wanted))
        return wanted


class SlurmWorker:
    """One worker as its pool knows it: idle, or the job of a command."""

    def __init__(self, workers: SlurmWorkers, number: int) -> None:
        self.workers, self.number, self.key, self.busy = workers, number, secrets.token_hex(8), False
        self.job: submitit.Job[Answer] | None = None
        self._command: tuple[Any, ...] = ()
        self._submitted = self._ended = 0.0

    @property
    def log(self) -> Path:
        """Where its job's output is; before it has one, where it will be."""
        return Path(self.job.paths.stdout) if self.job is not None else Path(self.workers.executor.folder)

    def send(self, *command: Any) -> None:
        """Submit a job that carries out a command, at once or when SLURM takes one more.

        Raises
        ------
        SweepError
            SLURM refuses the first job of a sweep.
        """
        self.job, self.busy, self._command = None, True, command
        self._submit()

    def _submit(self) -> None:
        if time.monotonic() < self.workers.full_until:
            return
        self.key = secrets.token_hex(8)
        try:
            job = self.workers.executor.submit(JobCommand(self.workers.plan, self.key, self._command))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            said = " ".join(str(error).split())
            if not self.workers.accepted:
                raise SweepError(
                    f"SLURM refused the job of a worker: {said} What it asks for is in hydra.sweeper.slurm: gpus=0 "
                    "where the cluster has none, partition=, account=, minutes=, mem_gb=."
                ) from error
            if not self.workers.full_until:  # others were taken: a limit of jobs for each user, a server that starts
                log.warning("SLURM takes no further job for now, and is asked again every minute: %s", said)
            self.workers.full_until = time.monotonic() + RETRY_SECONDS
            return
        self.workers.full_until = 0.0
        self._begin(job)

    def take_up(self, job: submitit.Job[Answer]) -> None:
        """Wait for the answer of a job that another coordinator submitted."""
        self.key = _command_of(job).key
        self._begin(job)

    def _begin(self, job: submitit.Job[Answer]) -> None:
        self.job, self.busy, self._submitted, self._ended = job, True, time.monotonic(), 0.0
        self.workers.accepted = True

    def answer(self) -> Answer | None:
        """Return the job's result, if it has one; that it ended without any is an answer too."""
        if self.job is None:
            self._submit()
            return None
        answer = self._result(self.job) if self.job.paths.result_pickle.exists() else self._end(self.job)
        self.busy = answer is None
        return answer

    def _result(self, job: submitit.Job[Answer]) -> Answer:
        try:
            return job.result()
        except submitit.core.utils.FailedJobError as error:
            trace = str(error).split("\n----------------------\n")[1]  # between submitit's own words
            return "died", trace.strip().splitlines()[-1]

    def _end(self, job: submitit.Job[Answer]) -> Answer | None:
        """Return how a job ended without a result; None while it may yet have one."""
        if (state := self._state()) not in ENDED:
            self._ended = 0.0
            return None
        self._ended = self._ended or time.monotonic()
        if state == "CANCELLED":
            return "interrupted", None
        if state in ("COMPLETED", "GONE") and time.monotonic() < self._ended + RESULT_SECONDS:
            return None
        return "lost" if state in LOST else "died", f"job {job.job_id}: {state}"

    def stop(self, save: bool) -> None:
        """Cancel the job: SLURM sends SIGTERM, and the trial is saved."""
        if self.busy and self.job is not None:
            self.job.cancel(check=False)

    def join(self, seconds: float) -> None:
        """Wait until the job has left the queue."""
        end = time.monotonic() + seconds
        while self.busy and self.job is not None and self._state() not in ENDED and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 5)

    def kill(self) -> None:
        """Leave it to SLURM, which kills a cancelled job that does not end."""

    def _state(self) -> str:
        assert self.job is not None
        return self.workers.queue.state(self.job.job_id, self._submitted)


def _command_of(job: submitit.Job[Answer]) -> JobCommand:
    command = job.submission().function
    assert isinstance(command, JobCommand)
    return command


def _run(command: list[str]) -> str | None:
    """Return what a command of SLURM prints; None where it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return None
