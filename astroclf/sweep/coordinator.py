"""A sweep from its command line to its end: keeps workers busy with trials, and lets the best one win."""

from __future__ import annotations

import pickle
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from astroclf.config.build import build
from astroclf.engine.signals import signal_of, terminable
from astroclf.errors import DiskError, Interrupted, SweepError
from astroclf.run.data import Data, load_data
from astroclf.run.rehearsal import try_record
from astroclf.settings.config import Config
from astroclf.settings.sweep import SweepSettings
from astroclf.sweep import ray_cluster, slurm
from astroclf.sweep.finals import Finals
from astroclf.sweep.plan import Composer, SweepPlan, check_objectives, make_plan
from astroclf.sweep.pool import SweepWorker, WorkerPool
from astroclf.sweep.process import WorkerProcess
from astroclf.sweep.results import all_finished, finished_count, last_failure, state_counts, too_many_failures
from astroclf.sweep.space import build_pruner
from astroclf.sweep.storage import SQLITE, reason_of
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.trial import log_file
from astroclf.sweep.view.board import Board
from astroclf.tracking.address import hide_password
from astroclf.tracking.client import AWAY_SECONDS
from astroclf.tracking.runs import find_run
from astroclf.tracking.tracker import RunStatus, Tracker
from astroclf.util.disk import in_one_paragraph
from astroclf.util.logs import log

REFRESH_SECONDS = 1.0
NOTICEABLE_COMBINATIONS = 1000  # a hundred take SQLite a second or two


class Coordinator:
    """The process that runs one sweep, or joins one.

    Parameters
    ----------
    settings
        The keys of ``hydra.sweeper``.
    loader, master
        See `Composer`.

    Raises
    ------
    ConfigError
        Settings that no sweep can have.
    """

    def __init__(self, settings: SweepSettings, loader: Any, master: DictConfig) -> None:
        self.settings, self.composer = settings, Composer(loader, master)
        self.folder = Path(str(master.hydra.sweep.dir))
        check_objectives(settings.objectives or [])

    def run(self, arguments: list[str]) -> None:
        """Search until `n_trials` trials are finished, then test, register and show the best.

        Raises
        ------
        SweepError, ConfigError, DataError
            Before the first trial: what would fail in every one. Later: too many trials failed.
        Interrupted
            Ctrl-C or SIGTERM; every running trial is saved.
        """
        plan, config, combinations = make_plan(self.settings, self.composer, self.folder, arguments)
        if self.settings.workers == "slurm":
            slurm.check_slurm()
        elif self.settings.workers == "ray":
            ray_cluster.connect(self.settings.ray)
        with terminable(), log_file(self.folder / "sweep.log"):
            data = self._data(plan, config)  # first: where it is not to be had, no study is made
            study = SharedStudy(plan.storage, plan.name, plan.directions, plan.folder, build_pruner(plan.pruner))
            study.agree("config", plan.identity(config), "Bring back what it began with.")
            if data is not None:
                # By images and labels: the data set's own fingerprint has the times of files, which copies differ in.
                study.agree(
                    "splits", data.splits.fingerprints, "The data set or its splits have changed: bring them back."
                )
            if combinations is not None:
                if len(combinations) > NOTICEABLE_COMBINATIONS:
                    log.info("Planning %d combinations, which the database takes some minutes for.", len(combinations))
                study.enqueue(combinations)
                if self.settings.n_trials is None:  # every one, also where others were tried twice by a sampler before
                    plan = replace(plan, n_trials=len(study.trials()))
            self._run(study, plan, config)

    def _data(self, plan: SweepPlan, config: Config) -> Data | None:
        """Decode the data set here, where it is seen, and not in each worker; None where it is searched itself."""
        if "dataset" not in {key.partition(".")[0].lstrip("+") for key in plan.space.distributions}:
            return load_data(config, lambda: try_record(config))
        try_record(config)
        return None

    def _run(self, study: SharedStudy, plan: SweepPlan, config: Config) -> None:
        tracker = self._open_run(study, plan, config)
        plan = replace(plan, parent_run_id=tracker.run_id)
        self._greet(plan, study)
        self._warn_of_files(plan)
        status: RunStatus = "FAILED"
        try:
            count = self._workers(study, plan)
            with WorkerPool(count, self._start_of_workers(pickle.dumps(plan), count)) as pool:
                self._search(study, plan, pool)
                Finals(study, plan, self.settings).run(pool, tracker)
            status = "FINISHED"
        except (Interrupted, KeyboardInterrupt) as stop:
            status = "KILLED"
            number = signal_of(stop)
            said = f"The sweep {plan.name} was stopped; its trials are saved. Go on, from where each stood, with:"
            raise Interrupted(f"{said}\n  {self._command(plan)}", 128 + number) from None
        except (DiskError, StorageInternalError, SQLAlchemyError) as error:
            database = f"Its database {hide_password(plan.storage)} cannot be used any more: {reason_of(error)}."
            why = in_one_paragraph(error) or database
            said = f"The sweep {plan.name} was stopped. {why} Its trials go on, from where each stood, with:"
            raise SweepError(f"{said}\n  {self._command(plan)}") from error
        finally:
            tracker.close(status)

    def _open_run(self, study: SharedStudy, plan: SweepPlan, config: Config) -> Tracker:
        """Open the MLflow run that the trials are nested in: a new one, or the study's own."""
        with study.lock():
            run_id, key = study.recall("mlflow_run"), study.recall("key") or secrets.token_hex(8)
            study.remember("key", key)  # other studies in this MLflow may have had the same name
            if run_id is None and plan.uri is not None:
                run_id = find_run(plan.uri, {"sweep.key": key}, experiment=str(config.tracking.experiment))
            tracker: Tracker = build(
                config.tracking,
                run_name=plan.name,
                run_id=run_id,
                params={
                    **{f"search {key}": text for key, text in plan.space.describe().items()},
                    **plan.fixed_values(),
                },
                tags={
                    "sweep": plan.name,
                    "sweep.key": key,
                    "command": self._command(plan),
                    "sweep_folder": str(plan.folder),
                },
                system_metrics=False,
                tensorboard=False,
                patience=AWAY_SECONDS,
            )
            if tracker.run_id is not None:
                study.remember("mlflow_run", tracker.run_id)
        return tracker

    def _warn_of_files(self, plan: SweepPlan) -> None:
        """Say what workers on other nodes need of a study in a file."""
        if self.settings.workers != "local" and plan.storage.startswith(SQLITE):
            log.warning(
                "The study is a file, and so are its locks: several nodes need a shared disk whose locks hold between "
                "them, such as NFS version 4. Otherwise give a database: hydra.sweeper.storage=postgresql://..."
            )

    def _greet(self, plan: SweepPlan, study: SharedStudy) -> None:
        finished, trials, total = finished_count(study.trials()), plan.n_trials, plan.combinations
        what = f"{trials} trials"
        if total is not None:
            what = f"all {total} combinations" if trials >= total else f"{trials} of {total} combinations"
        log.info("Study %s: %s, %d of them finished; folder %s", plan.name, what, finished, self.folder)
        for key, text in plan.space.describe().items():
            log.info("  %s: %s", key, text)

    def _workers(self, study: SharedStudy, plan: SweepPlan) -> int:
        open_trials = plan.n_trials - finished_count(study.trials())
        return max(1, min(self.settings.n_jobs, open_trials))

    def _start_of_workers(self, plan: bytes, count: int) -> Callable[[int], SweepWorker]:
        """Return what starts a worker where `hydra.sweeper.workers` says."""
        if self.settings.workers == "slurm":
            return slurm.SlurmWorkers.of(self.settings.slurm, plan, self.folder.absolute(), count)
        if self.settings.workers == "ray":
            return ray_cluster.RayWorkers(self.settings.ray, plan, self.folder.absolute())
        return lambda number: WorkerProcess(plan, self.folder, number, count, secrets.token_hex(8))

    def _search(self, study: SharedStudy, plan: SweepPlan, pool: WorkerPool) -> None:
        """Keep the workers on trials until all are finished, here or in other processes that joined."""
        board = Board(plan.name, study.directions, plan.n_trials, len(pool), plan.objectives, self._command(plan))
        with board:
            while True:
                trials = study.trials()
                board.update(trials)
                if too_many_failures(trials, plan.max_failure_rate):
                    raise SweepError(_failures(trials, plan))
                if all_finished(trials, plan.n_trials):
                    return
                pool.keep_busy(study, plan.n_trials)
                time.sleep(REFRESH_SECONDS)

    def _command(self, plan: SweepPlan) -> str:
        """Write the command that goes on with this study."""
        name = () if self.settings.study_name else (f"hydra.sweeper.study_name={plan.name}",)
        return str(replace(plan.command, arguments=(*plan.command.arguments, *name)))


def _failures(trials: Sequence[FrozenTrial], plan: SweepPlan) -> str:
    """Say that too many trials failed, why the last one did, and how to go on."""
    return (
        f"{state_counts(trials)['failed']} of {finished_count(trials)} trials failed, more than "
        f"hydra.sweeper.max_failure_rate={plan.max_failure_rate} allows: the sweep was stopped. {last_failure(trials)} "
        "Mend the cause and begin a new study; or go on with a higher max_failure_rate."
    )
