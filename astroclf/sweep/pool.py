"""The worker processes of a sweep as its coordinator knows them: started, given commands, replaced when they die."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from optuna.trial import TrialState

from astroclf.errors import DiskError, Interrupted, SweepError
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.worker import entry, work
from astroclf.util.logs import log

GRACE_SECONDS = 120.0  # for a running step, its checkpoint and MLflow, after Ctrl-C
MAX_DEATHS = 2  # of the process of one trial or command, before it counts as failed


class WorkerProcess:
    """One worker as the coordinator knows it: a process, and what it is doing."""

    def __init__(self, plan: bytes, folder: Path, number: int, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, and shares locks
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.log = folder / "workers" / f"{number}.log"
        self.process: BaseProcess = context.Process(
            target=entry, args=(work, self.log, theirs, plan, number, workers), name=f"sweep-worker-{number}"
        )
        self.process.start()
        theirs.close()
        self.number, self.busy = number, False
        self.trial: int | None = None  # its number, while one is running

    def send(self, *command: Any) -> None:
        """Send a command, whose answer is waited for from now on."""
        with contextlib.suppress(OSError):  # of one that has just died: seen at the next look
            self.connection.send(command)
        self.busy = True

    def answer(self) -> tuple[str, Any] | None:
        """Return what the worker has to say, if it says anything; its death is an answer too."""
        try:
            while self.connection.poll():
                kind, value = self.connection.recv()
                if kind != "begun":
                    self.busy, self.trial = False, None
                    return kind, value
                self.trial = value
        except (EOFError, OSError):
            pass
        if self.process.is_alive():
            return None
        self.busy = False
        return "died", self.process.exitcode


class WorkerPool:
    """The workers of one sweep, as a context that starts and ends them.

    Parameters
    ----------
    count
        Of the workers.
    plan
        The pickled `SweepPlan`.
    folder
        The sweep's folder; workers' output goes below it.
    """

    def __init__(self, count: int, plan: bytes, folder: Path) -> None:
        self.count, self.plan, self.folder = count, plan, folder
        self.workers: list[WorkerProcess] = []
        self._failed_starts = 0

    def __len__(self) -> int:
        return self.count

    def __enter__(self) -> Self:
        try:
            for number in range(self.count):
                self.workers.append(self._start(number))
        except BaseException as error:  # Ctrl-C, no more processes: those that were started would wait for ever
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _start(self, number: int) -> WorkerProcess:
        return WorkerProcess(self.plan, self.folder, number, self.count)

    def keep_busy(self, study: SharedStudy, n_trials: int) -> None:
        """Hear every worker; give the idle ones trials; replace the dead.

        Raises
        ------
        SweepError
            What every trial would fail with, or workers that cannot start.
        DiskError
            What a worker could not write for want of room.
        Interrupted
            A worker was asked to stop.
        """
        for index, worker in enumerate(self.workers):
            if worker.busy:
                answer = worker.answer()
                if answer is not None and answer[0] == "died":
                    self._bury(study, worker, answer[1])
                    self.workers[index] = self._start(worker.number)
                elif answer is not None:
                    _value_of(answer)
            elif self._work_left(study, n_trials):
                worker.send("trials")

    def run(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Let the workers carry out these commands; returns their values in the same order.

        A command whose worker died is given to a new one, which goes on with it; twice, and it counts as failed.

        Raises
        ------
        SweepError, DiskError, Interrupted
            As `keep_busy`.
        """
        waiting = list(enumerate(commands))
        values: dict[int, Any] = {}
        doing: dict[int, tuple[int, tuple[Any, ...]]] = {}
        deaths: Counter[int] = Counter()
        total = len(waiting)
        while len(values) < total:
            for index, worker in enumerate(self.workers):
                if index in doing:
                    answer = worker.answer()
                    if answer is None:
                        continue
                    number, command = doing.pop(index)
                    if answer[0] != "died":
                        values[number] = _value_of(answer)
                        continue
                    deaths[number] += 1
                    if deaths[number] >= MAX_DEATHS:
                        raise SweepError(self._death(worker, answer[1]))
                    log.warning("%s", self._death(worker, answer[1]))
                    self.workers[index] = self._start(worker.number)
                    waiting.insert(0, (number, command))  # goes on from its checkpoint, if it has one
                elif worker.busy:
                    worker.answer()  # it is still coming home from the search
                elif waiting:
                    number, command = waiting.pop(0)
                    worker.send(*command)
                    doing[index] = number, command
            time.sleep(0.05)
        return [values[number] for number in range(total)]

    def _work_left(self, study: SharedStudy, n_trials: int) -> bool:
        """Return whether a trial is to be begun, or one that is running may be a dead process's."""
        trials = [trial for trial in study.trials() if trial.state != TrialState.WAITING]
        ours = {worker.trial for worker in self.workers if worker.busy}
        open_trials = {trial.number for trial in trials if trial.state == TrialState.RUNNING}
        return len(trials) < n_trials or bool(open_trials - ours)

    def _bury(self, study: SharedStudy, worker: WorkerProcess, exit_code: int | None) -> None:
        """Count a worker's death of itself (out of memory, a crash in native code) against its trial."""
        reason = self._death(worker, exit_code)
        if worker.trial is None:
            self._failed_starts += 1
            if self._failed_starts > 2 * self.count:
                raise SweepError(reason)
        else:
            deaths = study.count_death(worker.trial)
            if deaths >= MAX_DEATHS:
                study.fail(worker.trial, f"{reason} This was its {deaths}. process.")
        log.warning("%s", reason)

    def _death(self, worker: WorkerProcess, exit_code: int | None) -> str:
        how = f"exit code {exit_code}"
        if exit_code is not None and exit_code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-exit_code).name
            how += ": often the system, out of memory" if -exit_code == signal.SIGKILL else ""
        doing = f"trial {worker.trial}" if worker.trial is not None else "no trial"
        return f"Worker {worker.number} ended unexpectedly ({how}) while it ran {doing}; its output is in {worker.log}."

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for worker in self.workers:
                if kind is not None and worker.busy:
                    worker.process.terminate()  # SIGTERM: the trial saves its state
                worker.connection.close()  # it ends when it next listens, or speaks
            end = time.monotonic() + GRACE_SECONDS
            for worker in self.workers:
                worker.process.join(max(0.1, end - time.monotonic()))
        finally:  # a second Ctrl-C, or a process that does not end: nothing of it may stay behind
            for worker in self.workers:
                if worker.process.is_alive():
                    worker.process.kill()
                worker.process.join()


def _value_of(answer: tuple[str, Any]) -> Any:
    kind, value = answer
    if kind == "failed":
        raise SweepError(str(value))
    if kind == "refused":
        raise DiskError(str(value))
    if kind == "interrupted":
        raise Interrupted("A worker was asked to stop.", 130)
    return value
