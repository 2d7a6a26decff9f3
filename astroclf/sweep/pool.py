"""The workers of a sweep as its coordinator knows them: started, given commands, replaced when they die."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from optuna.trial import TrialState

from astroclf.errors import DiskError, Interrupted, SweepError
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.worker import Answer
from astroclf.util.logs import log

GRACE_SECONDS = 120.0  # for a running step, its checkpoint and MLflow, after Ctrl-C
ENDS = ("died", "lost")  # a worker's process: of itself; through no fault of what it ran
MAX_DEATHS = 2  # of the process of one trial or command, before it counts as failed


class SweepWorker(Protocol):
    """One worker, wherever it is: a process, a job of SLURM, an actor of Ray.

    Attributes
    ----------
    key
        By which the study knows whose a trial is; see `SharedStudy.claim`.
    busy
        Whether it was given a command whose answer is not heard yet.
    """

    number: int
    key: str
    busy: bool

    @property
    def log(self) -> Path:
        """Where its output is."""

    def send(self, *command: Any) -> None:
        """Give it a command of `worker.Worker`, whose answer is waited for from now on."""

    def answer(self) -> Answer | None:
        """Return what it has to say, if anything: an answer of `worker.Worker`, or one of `ENDS` and how."""

    def stop(self, save: bool) -> None:
        """Ask it to end, at once with its trial saved, or when it has nothing to do."""

    def join(self, seconds: float) -> None:
        """Wait for its end, at most so long."""

    def kill(self) -> None:
        """End it at once, if it has not ended."""


class WorkerPool:
    """The workers of one sweep, as a context that starts and ends them.

    Parameters
    ----------
    count
        Of the workers.
    start
        Makes the worker of a number.
    """

    def __init__(self, count: int, start: Callable[[int], SweepWorker]) -> None:
        self.count, self.start = count, start
        self.workers: list[SweepWorker] = []
        self._failed_starts = 0

    def __len__(self) -> int:
        return self.count

    def __enter__(self) -> Self:
        try:
            for number in range(self.count):
                self.workers.append(self.start(number))
        except BaseException as error:  # Ctrl-C, no more processes: those that were started would wait for ever
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

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
                if answer is not None and answer[0] in ENDS:
                    self._bury(study, worker, answer)
                    self.workers[index] = self.start(worker.number)
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
                    if answer[0] not in ENDS:
                        values[number] = _value_of(answer)
                        continue
                    deaths[number] += answer[0] == "died"
                    reason = _death(worker, answer[1], f"its command {command[0]}")
                    if deaths[number] >= MAX_DEATHS:
                        raise SweepError(reason)
                    log.warning("%s", reason)
                    self.workers[index] = self.start(worker.number)
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
        """Return whether a trial is to be begun, or one that is running is a dead process's."""
        begun = [trial for trial in study.trials() if trial.state != TrialState.WAITING]
        running = (trial for trial in begun if trial.state == TrialState.RUNNING)
        return len(begun) < n_trials or any(study.is_left(trial) for trial in running)

    def _bury(self, study: SharedStudy, worker: SweepWorker, end: Answer) -> None:
        """Count a worker's death of itself (out of memory, a crash in native code) against its trial."""
        trial = study.trial_of(worker.key)
        reason = _death(worker, end[1], "no trial" if trial is None else f"trial {trial}")
        if end[0] == "lost":
            if trial is not None:
                study.release(trial)
        elif trial is None:
            self._failed_starts += 1
            if self._failed_starts > 2 * self.count:
                raise SweepError(reason)
        else:
            deaths = study.count_death(trial)
            if deaths >= MAX_DEATHS:
                study.fail(trial, f"{reason} This was its {deaths}. process.")
        log.warning("%s", reason)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for worker in self.workers:
                worker.stop(save=kind is not None)
            end = time.monotonic() + GRACE_SECONDS
            for worker in self.workers:
                worker.join(max(0.1, end - time.monotonic()))
        finally:  # a second Ctrl-C, or a process that does not end: nothing of it may stay behind
            for worker in self.workers:
                worker.kill()


def _death(worker: SweepWorker, how: str, doing: str) -> str:
    return f"Worker {worker.number} ended unexpectedly ({how}) while it ran {doing}; its output is in {worker.log}."


def _value_of(answer: Answer) -> Any:
    kind, value = answer
    if kind == "failed":
        raise SweepError(str(value))
    if kind == "refused":
        raise DiskError(str(value))
    if kind == "interrupted":
        raise Interrupted("A worker was asked to stop.", 130)
    return value
