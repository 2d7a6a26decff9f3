"""The worker processes of a sweep: started, given commands, replaced when they die; and what each of them does."""

from __future__ import annotations

import contextlib
import gc
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hydra.core.plugins import Plugins
from optuna.trial import FrozenTrial, TrialState

from astroclf.config.resume import resumed_config
from astroclf.errors import AstroclfError, Interrupted, SweepError
from astroclf.run.folder import RunFolder
from astroclf.sweep.plan import SweepPlan
from astroclf.sweep.results import best_trials, finished_count, too_many_failures
from astroclf.sweep.space import build_pruner, build_sampler
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.trial import drop_checkpoints, free_memory, log_failure, log_file, run_trial, train_once
from astroclf.tracking.client import log_to_run
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log
from astroclf.util.output import print_to_file

if TYPE_CHECKING:
    import torch

    from astroclf.run import build, train
else:  # in a worker only, once it has its device
    torch = lazy_import("torch")
    build = lazy_import("astroclf.run.build")
    train = lazy_import("astroclf.run.train")

GRACE_SECONDS = 120.0  # for a running step, its checkpoint and MLflow, after Ctrl-C
MAX_DEATHS = 2  # of the process of one trial, before the trial counts as failed


# ---- in the coordinator ----------------------------------------------------------------------------------------------


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
        """Let the workers carry out these commands, each once; returns their values in the same order.

        Raises
        ------
        SweepError, Interrupted
            As `keep_busy`.
        """
        waiting = list(enumerate(commands))
        values: dict[int, Any] = {}
        doing: dict[int, int] = {}
        total = len(waiting)
        while len(values) < total:
            for index, worker in enumerate(self.workers):
                if index in doing:
                    answer = worker.answer()
                    if answer is not None and answer[0] == "died":
                        raise SweepError(self._death(worker, answer[1]))
                    if answer is not None:
                        values[doing.pop(index)] = _value_of(answer)
                elif worker.busy:
                    worker.answer()  # it is still coming home from the search
                elif waiting:
                    number, command = waiting.pop(0)
                    worker.send(*command)
                    doing[index] = number
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
    if kind == "interrupted":
        raise Interrupted("A worker was asked to stop.", 130)
    return value


# ---- in a worker's process -------------------------------------------------------------------------------------------


def work(connection: Connection, plan_bytes: bytes, number: int, workers: int) -> None:
    """Answer the coordinator's commands until it closes the connection.

    Each command is a tuple, each answer a tuple of ``done``, ``failed`` (an `AstroclfError`'s text) or ``interrupted``,
    and a value; before it, ``begun`` and the number of each trial:

    * ``("trials",)``: run trials until none is left to begin or to take over;
    * ``("train", overrides, folder, tags)``: train and validate one configuration; the best metrics, none if it failed;
    * ``("test", folder)``: test, record and register a trained one; its metrics.
    """
    _end_with_the_coordinator()
    _bind_device(number)
    Plugins.instance()  # registers the configs that Hydra's plugins bring
    # Only now is torch loaded, for it looks at devices and threads once.
    worker = Worker(pickle.loads(plan_bytes), workers, lambda trial: connection.send(("begun", trial)))
    while True:
        try:
            command = connection.recv()
        except (EOFError, OSError):
            return
        except KeyboardInterrupt:
            command = None
        try:
            if command is None:
                raise Interrupted("", 128 + signal.SIGINT)
            answer: tuple[str, Any] = ("done", getattr(worker, command[0])(*command[1:]))
        except (Interrupted, KeyboardInterrupt):
            answer = ("interrupted", None)
        except AstroclfError as error:
            answer = ("failed", str(error))
        try:
            connection.send(answer)
        except OSError:
            return
        if answer[0] == "interrupted":
            return


class Worker:
    """The commands that a worker's process carries out; libraries and data are loaded once for all of them."""

    def __init__(self, plan: SweepPlan, workers: int, begun: Callable[[int], None]) -> None:
        if not torch.cuda.is_available():
            torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        self.plan, self.cache, self.begun = plan, build.ProcessCache(), begun
        self.study = SharedStudy(plan.storage, plan.name, plan.directions, plan.folder, build_pruner(plan.pruner))
        gc.freeze()  # libraries stay: the collection after each trial need not look through them

    def trials(self) -> None:
        """Run trials until none is left to begin or to take over, or too many failed."""
        plan = self.plan
        while not too_many_failures(self.study.trials(), plan.max_failure_rate):
            claim = self.study.claim(plan.n_trials, plan.space, plan.base, lambda n: build_sampler(plan.sampler, n))
            if claim is None:
                return
            self.begun(claim.trial.number)
            run_trial(self.study, plan, claim, self.cache)
            trials = self.study.trials()
            drop_checkpoints(trials, self.study.directions, plan.keep_checkpoints)
            self._log_best(trials)

    def train(self, overrides: list[str], folder: str, tags: dict[str, str]) -> dict[str, float]:
        """Train and validate one configuration; returns the best metrics, none if it failed."""
        with log_file(Path(folder) / "train.log"):
            try:
                return train_once(self.plan, overrides, Path(folder), self.cache, tags)
            except Interrupted:
                raise
            except Exception as error:  # as of a trial: its result, and no reason to end the sweep
                log_failure(error)
                return {}
            finally:
                free_memory()

    def test(self, folder: str) -> dict[str, Any]:
        """Test, record and register what was trained in a folder; returns its metrics."""
        config = resumed_config(Path(folder), folder)
        with log_file(Path(folder) / "train.log"):
            return train.train(config, RunFolder.resumed(folder), "", self.cache)

    def _log_best(self, trials: list[FrozenTrial]) -> None:
        """Log the best value after so many trials, as a curve of the sweep's MLflow run."""
        plan = self.plan
        if plan.uri is None or plan.parent_run_id is None or len(plan.objectives) > 1:
            return
        for best in best_trials(trials, self.study.directions):
            metrics = {f"best/{plan.objectives[0]}": best.values[0]}
            log_to_run(plan.uri, plan.parent_run_id, metrics, finished_count(trials))


def _bind_device(number: int) -> None:
    """Let this process see one GPU, in turn; before torch is loaded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [part for part in visible.split(",") if part] if visible is not None else _gpus()
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]


def _gpus() -> list[str]:
    """List the numbers of the GPUs that the driver knows, without loading torch."""
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _end_with_the_coordinator() -> None:
    """Stop cleanly, as after Ctrl-C, if the coordinator is killed: nobody would wait for the result."""
    coordinator = multiprocessing.parent_process()
    assert coordinator is not None

    def watch() -> None:
        coordinator.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="coordinator-watch").start()


def redirect_output(path: Path) -> None:
    """Send everything that this process or a library of it prints to a file: the terminal shows the sweep's table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print_to_file(path)
    logging.getLogger().setLevel(logging.INFO)


def entry(target: Callable[..., None], output: Path, *arguments: Any) -> None:
    """Begin a new process: send its output to a file, and call `target`."""
    redirect_output(output)
    target(*arguments)
