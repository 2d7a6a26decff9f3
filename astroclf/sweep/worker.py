"""A worker process: loads libraries and data once, then runs one trial after another."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.errors import AstroclfError, Interrupted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from astroclf.sweep.trial import Plan

log = logging.getLogger("astroclf")


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
    # Only now, for the device and the threads are chosen when they are loaded.
    import pickle

    import hydra.core.plugins

    hydra.core.plugins.Plugins.instance()  # registers the configs that plugins bring
    worker = _Worker(pickle.loads(plan_bytes), workers, lambda trial: connection.send(("begun", trial)))
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


class _Worker:
    """What one process of a sweep can do."""

    def __init__(self, plan: Plan, workers: int, begun: Callable[[int], None]) -> None:
        import torch

        from astroclf.run.build import ProcessCache
        from astroclf.sweep.sampling import build_pruner
        from astroclf.sweep.study import SharedStudy

        if not torch.cuda.is_available():
            torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        self.plan, self.workspace, self.begun = plan, ProcessCache(), begun
        self.study = SharedStudy(plan.storage, plan.name, plan.directions, plan.folder, build_pruner(plan.pruner))
        gc.freeze()  # libraries stay: the collection after each trial need not look through them

    def trials(self) -> None:
        from astroclf.sweep.sampling import build_sampler
        from astroclf.sweep.study import too_many_failures
        from astroclf.sweep.trial import drop_checkpoints, run_trial

        plan = self.plan
        while not too_many_failures(self.study.trials(), plan.max_failure_rate):
            claim = self.study.claim(plan.n_trials, plan.space, plan.base, lambda n: build_sampler(plan.sampler, n))
            if claim is None:
                return
            self.begun(claim.trial.number)
            run_trial(self.study, plan, claim, self.workspace)
            trials = self.study.trials()
            drop_checkpoints(trials, self.study.study.directions, plan.keep_checkpoints)
            self._log_best(trials)

    def train(self, overrides: list[str], folder: str, tags: dict[str, str]) -> dict[str, float]:
        from astroclf.sweep.trial import free_memory, log_failure, log_in, train_once

        with log_in(Path(folder)):
            try:
                return train_once(self.plan, overrides, Path(folder), self.workspace, tags)
            except Interrupted:
                raise
            except Exception as error:  # as of a trial: its result, and no reason to end the sweep
                log_failure(error)
                return {}
            finally:
                free_memory()

    def test(self, folder: str) -> dict[str, Any]:
        from astroclf.config.resume import resumed_config
        from astroclf.run.folder import RunFolder
        from astroclf.run.train import train
        from astroclf.sweep.trial import log_in

        config = resumed_config(Path(folder), folder)
        with log_in(Path(folder)):
            return train(config, RunFolder.resumed(folder), "", self.workspace)

    def _log_best(self, trials: list[FrozenTrial]) -> None:
        """The best value after so many trials, as a curve of the sweep's MLflow run."""
        plan = self.plan
        if plan.uri is None or plan.parent_run_id is None or len(plan.objectives) > 1:
            return
        from astroclf.sweep.view.trials import best_trials
        from astroclf.tracking.client import log_to_run

        finished = sum(trial.state.is_finished() for trial in trials)
        for best in best_trials(trials, self.study.study.directions):
            log_to_run(plan.uri, plan.parent_run_id, {f"best/{plan.objectives[0]}": best.values[0]}, finished)


def _bind_device(number: int) -> None:
    """This process sees one GPU, in turn; set before torch is loaded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [part for part in visible.split(",") if part] if visible is not None else _gpus()
    if devices:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]


def _gpus() -> list[str]:
    """Numbers of the GPUs that the driver lists, without loading torch."""
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def _end_with_the_coordinator() -> None:
    """If the coordinator is killed, stop cleanly, as after Ctrl-C: nobody would wait for the result."""
    coordinator = parent_process()
    assert coordinator is not None

    def watch() -> None:
        coordinator.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="coordinator-watch").start()


def redirect_output(path: Path) -> None:
    """Everything that this process or a library of it prints goes to a file: the terminal shows the sweep's table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    logging.getLogger().setLevel(logging.INFO)


def entry(target: Callable[..., None], log: Path, *arguments: Any) -> None:
    """What a new process begins with."""
    redirect_output(log)
    target(*arguments)
