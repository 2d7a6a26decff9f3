"""What each worker process of a sweep does: it answers the coordinator's commands, with trials, trainings and tests."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.plugins import Plugins
from optuna.trial import FrozenTrial

from astroclf.config.resume import resumed_config
from astroclf.errors import AstroclfError, Interrupted
from astroclf.run.folder import RunFolder, resume_command
from astroclf.settings.config import Config
from astroclf.sweep.plan import SweepPlan
from astroclf.sweep.results import best_trials, finished_count, too_many_failures
from astroclf.sweep.space import build_pruner, build_sampler
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.trial import drop_checkpoints, free_memory, log_failure, log_file, run_trial, train_once
from astroclf.tracking.runs import log_to_run
from astroclf.util.disk import in_one_paragraph
from astroclf.util.invocation import set_typed_command
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from astroclf.run import parts, train
else:  # in a worker only, once it has its device
    torch = lazy_import("torch")
    parts = lazy_import("astroclf.run.parts")
    train = lazy_import("astroclf.run.train")


Answer = tuple[str, Any]


def work(connection: Connection, plan: bytes, number: int, workers: int, key: str) -> None:
    """Answer the coordinator's commands until it closes the connection; see `Worker.answer`."""
    _end_with_the_coordinator()
    _bind_device(number)
    worker = Worker.begin(plan, workers, key)
    while True:
        try:
            command = connection.recv()
        except (EOFError, OSError):
            return
        except KeyboardInterrupt:
            answer: Answer = ("interrupted", None)
        else:
            answer = worker.answer(command)
        try:
            connection.send(answer)
        except OSError:
            return
        if answer[0] == "interrupted":
            return


class Worker:
    """The commands that a worker's process carries out; libraries and data are loaded once for all of them.

    Parameters
    ----------
    workers
        How many share the cores of the machine.
    key
        See `SharedStudy.claim`.
    """

    def __init__(self, plan: SweepPlan, workers: int, key: str) -> None:
        if not torch.cuda.is_available():
            torch.set_num_threads(max(1, torch.get_num_threads() // workers))
        set_typed_command(plan.command)
        self.plan, self.cache, self.key = plan, parts.ProcessCache(), key
        self.study = SharedStudy(plan.storage, plan.name, plan.directions, plan.folder, build_pruner(plan.pruner))
        gc.freeze()  # libraries stay: the collection after each trial need not look through them

    @classmethod
    def begin(cls, plan: bytes, workers: int, key: str) -> Worker:
        """Make the worker of a process that has its device: only now is torch loaded, for it looks at these once."""
        Plugins.instance()  # registers the configs that Hydra's plugins bring
        return cls(pickle.loads(plan), workers, key)

    def answer(self, command: tuple[Any, ...]) -> Answer:
        """Carry out one command, and return what came of it.

        Commands are the methods below with their arguments: ``("trials",)``, ``("train", overrides, folder, tags)``
        and ``("test", folder)``. An answer is ``done``, ``failed`` (an `AstroclfError`'s text), ``refused`` (a
        `DiskError`'s) or ``interrupted``, and a value.
        """
        try:
            return "done", getattr(self, command[0])(*command[1:])
        except (Interrupted, KeyboardInterrupt):
            return "interrupted", None
        except Exception as error:
            if refused := in_one_paragraph(error):
                return "refused", str(refused)
            if isinstance(error, AstroclfError):
                return "failed", str(error)
            raise

    def trials(self) -> None:
        """Run trials until none is left to begin or to take over, or too many failed."""
        plan = self.plan
        while not too_many_failures(self.study.trials(), plan.max_failure_rate):
            claim = self.study.claim(
                plan.n_trials, plan.space, plan.base, lambda n: build_sampler(plan.sampler, n), self.key
            )
            if claim is None:
                return
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
        config = resumed_config(Config, Path(folder), folder)
        with log_file(Path(folder) / "train.log"):
            return train.train(config, RunFolder.resumed(folder), resume_command(Path(folder)), self.cache)

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
