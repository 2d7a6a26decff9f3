"""A sweep from its command line to its end: checks everything first, keeps workers busy, and lets the best one win."""

from __future__ import annotations

import logging
import pickle
import secrets
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from astroclf.config.build import build
from astroclf.engine.signals import Terminated, terminable
from astroclf.errors import AstroclfError, ConfigError, Interrupted, SweepError
from astroclf.evaluation.metrics import MONITORS, monitored
from astroclf.settings.schema import Config
from astroclf.sweep.compose import Composer
from astroclf.sweep.finals import Finals
from astroclf.sweep.plugin import SweepSettings
from astroclf.sweep.pool import WorkerPool
from astroclf.sweep.sampling import build_pruner, build_sampler, is_grid
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.storage import absolute_storage
from astroclf.sweep.study import SharedStudy, all_finished, too_many_failures
from astroclf.sweep.trial import Plan, log_in, planned_validations
from astroclf.sweep.view.board import Board
from astroclf.tracking.database import ensure_database
from astroclf.tracking.tracker import RunStatus, Tracker
from astroclf.util.invocation import command_line
from astroclf.util.text import flatten, nearest

log = logging.getLogger("astroclf")

REFRESH_SECONDS = 1.0
PARAMETERS = "model/parameters"  # beside the validation metrics, what one of several objectives may be
MANY = 10_000  # combinations that a grid may have
# What may differ between two starts of one study without making its trials another experiment.
FREE = (
    "dataset.path", "dataset.cache_dir", "dataset.download", "dataset.keep_images_on", "tracking", "trainer.compile",
    "trainer.device", "trainer.save_every_minutes", "trainer.num_workers",
)  # fmt: skip


class Coordinator:
    """Runs one sweep, or joins one.

    Parameters
    ----------
    settings : SweepSettings
    loader, master
        See `Composer`.
    """

    def __init__(self, settings: SweepSettings, loader: Any, master: DictConfig) -> None:
        self.settings, self.composer = settings, Composer(loader, master)
        self.folder = Path(str(master.hydra.sweep.dir))
        _check_settings(settings)

    def run(self, arguments: list[str]) -> None:
        """Search until `n_trials` trials are finished, then test, register and show the best.

        Raises
        ------
        SweepError, ConfigError, DataError
            Before the first trial: what would fail in every one. Later: too many trials failed.
        Interrupted
            Ctrl-C or SIGTERM; every running trial is saved.
        """
        plan, config = self._plan(arguments)
        with terminable(), log_in(self.folder, "sweep.log"):
            self._run(plan, config)

    def _run(self, plan: Plan, config: Config) -> None:
        study = SharedStudy(plan.storage, plan.name, plan.directions, plan.folder, build_pruner(plan.pruner))
        study.agree("config", _identity(plan, config), "Bring back what it began with.")
        if "dataset" not in {key.partition(".")[0].lstrip("+") for key in plan.space.distributions}:
            from astroclf.run.data import load_data

            data = load_data(config).fingerprints  # decoded here, where its progress is seen, and not by each worker
            study.agree("data", data, "The data set or its splits have changed: bring them back.")
        if self.combinations is not None:
            study.enqueue(self.combinations)
        tracker = self._open_run(study, plan, config)
        plan = replace(plan, parent_run_id=tracker.run_id)
        self._greet(plan, study)
        status: RunStatus = "FAILED"
        try:
            with WorkerPool(self._workers(study, plan), pickle.dumps(plan), self.folder) as pool:
                self._search(study, plan, pool)
                Finals(study, plan, self.settings).run(pool, tracker)
            status = "FINISHED"
        except (Interrupted, KeyboardInterrupt) as stop:
            status = "KILLED"
            number = stop.signal if isinstance(stop, Terminated) else signal.SIGINT
            said = f"The sweep {plan.name} was stopped; its trials are saved. Go on, from where each stood, with:"
            raise Interrupted(f"{said}\n  {self._command(plan)}", 128 + number) from None
        finally:
            tracker.close(status)

    # ---- before the first trial ------------------------------------------------------------------------------------

    def _plan(self, arguments: list[str]) -> tuple[Plan, Config]:
        """Everything that workers need to know, checked."""
        settings = self.settings
        space = SearchSpace.parse(arguments, settings.params, settings.when)
        base = self.composer.texts(space.fixed)
        config = self._check_values(space, base)
        if config.resume:
            raise ConfigError("A resumed run cannot be part of a sweep. Leave out -m, or leave out resume.")
        objectives = tuple(settings.objectives or [config.monitor])
        directions = _directions(settings, objectives)
        if len(objectives) > 1 and not str(settings.pruner["_target_"]).endswith("NopPruner"):
            raise ConfigError(
                "Optuna prunes by one objective only: with several (hydra.sweeper.objectives), choose "
                "hydra/sweeper/pruner=none."
            )
        pruner = dict(settings.pruner)
        if pruner.get("max_resource") == "auto" and (planned := planned_validations(config)):
            pruner["max_resource"] = max(planned, int(pruner.get("min_resource", 1)))
        build_sampler(settings.sampler, 0), build_pruner(pruner)
        self.combinations = self._combinations(space, base)
        n_trials = settings.n_trials if self.combinations is None else len(self.combinations)
        uri = config.tracking.options.get("uri")
        plan = Plan(
            name=str(settings.study_name or self.folder.name),
            storage=absolute_storage(settings.storage),
            folder=self.folder.absolute(),
            n_trials=n_trials,
            max_failure_rate=settings.max_failure_rate,
            keep_checkpoints=_kept(settings),
            directions=directions,
            objectives=objectives,
            space=space,
            base=base,
            sampler=settings.sampler,
            pruner=pruner,
            composer=self.composer,
            uri=ensure_database(uri) if uri else None,
        )
        return plan, config

    def _check_values(self, space: SearchSpace, base: Mapping[str, str]) -> Config:
        """Compose each choice and both ends of each range once: nobody wants to hear of a typo from trial 17."""
        config: Config | None = None
        for key, value in space.extremes():
            params = space.example(key, value, base)
            if params is not None:
                try:
                    config = self.composer.config(space.overrides(params))
                except AstroclfError as error:
                    raise ConfigError(f"The search space holds {key}={value}, which cannot be. {error}") from error
        if config is None:
            raise ConfigError("No key of the search space is ever searched: the conditions of hydra.sweeper.when fail.")
        return config

    def _combinations(self, space: SearchSpace, base: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """The trials themselves, where there are so few combinations that each can be tried once."""
        settings = self.settings
        combinations = space.combinations(base, MANY if is_grid(settings.sampler) else settings.n_trials)
        if combinations is None and is_grid(settings.sampler):
            raise ConfigError(
                "hydra/sweeper/sampler=grid tries every combination: give each key a list or a range, and not more "
                f"than {MANY:,} combinations in all."
            )
        if combinations is not None and len(combinations) < settings.n_trials:
            log.info("The search space has %d combinations: each is tried once.", len(combinations))
        return combinations[: settings.n_trials] if combinations is not None else None

    def _open_run(self, study: SharedStudy, plan: Plan, config: Config) -> Tracker:
        """The MLflow run that the trials are nested in: a new one, or the study's own."""
        from astroclf.tracking.client import find_run

        with study.lock():
            run_id, key = study.recall("mlflow_run"), study.recall("key") or secrets.token_hex(8)
            study.remember("key", key)  # other studies in this MLflow may have had the same name
            if run_id is None and plan.uri is not None:
                run_id = find_run(plan.uri, {"sweep.key": key}, experiment=str(config.tracking["experiment"]))
            tracker: Tracker = build(
                config.tracking,
                run_name=plan.name,
                run_id=run_id,
                params={**{f"search {key}": text for key, text in plan.space.describe().items()}, **_fixed(plan)},
                tags={
                    "sweep": plan.name,
                    "sweep.key": key,
                    "command": command_line(),
                    "sweep_folder": str(plan.folder),
                },
                system_metrics=False,
                tensorboard=False,
            )
            if tracker.run_id is not None:
                study.remember("mlflow_run", tracker.run_id)
        return tracker

    def _greet(self, plan: Plan, study: SharedStudy) -> None:
        known = [trial for trial in study.trials() if trial.state != TrialState.WAITING]
        finished = sum(trial.state.is_finished() for trial in known)
        log.info("Study %s: %d trials, %d of them finished; folder %s", plan.name, plan.n_trials, finished, self.folder)
        for key, text in plan.space.describe().items():
            log.info("  %s: %s", key, text)

    # ---- while trials run ------------------------------------------------------------------------------------------

    def _workers(self, study: SharedStudy, plan: Plan) -> int:
        open_trials = plan.n_trials - sum(trial.state.is_finished() for trial in study.trials())
        return max(1, min(self.settings.n_jobs, open_trials))

    def _search(self, study: SharedStudy, plan: Plan, pool: WorkerPool) -> None:
        """Keep the workers on trials until all are finished, here or in other processes that joined."""
        directions = study.study.directions
        board = Board(plan.name, directions, plan.n_trials, len(pool), plan.objectives, self._command(plan))
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

    def _command(self, plan: Plan) -> str:
        """What goes on with this study."""
        command = command_line()
        if self.settings.study_name is None:
            command += f" {shlex.quote(f'hydra.sweeper.study_name={plan.name}')}"
        return command


def _check_settings(settings: SweepSettings) -> None:
    """Refuse numbers that no sweep can have."""
    for name, low in (("n_trials", 1), ("n_jobs", 1), ("finalists", 0), ("finalist_seeds", 1)):
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ConfigError(f"hydra.sweeper.{name}={value} must be a whole number from {low}.")
    if not isinstance(settings.storage, str):
        raise ConfigError("hydra.sweeper.storage must name a database, such as sqlite:///experiments/optuna.db.")
    _check_objectives(settings.objectives or [])
    if not 0 <= settings.max_failure_rate <= 1:
        raise ConfigError(f"hydra.sweeper.max_failure_rate={settings.max_failure_rate} must be between 0 and 1.")


def _check_objectives(objectives: Sequence[str] | str) -> None:
    if isinstance(objectives, str):
        raise ConfigError(f"hydra.sweeper.objectives={objectives} must be a list: [{objectives}].")
    known = (*MONITORS, PARAMETERS) if len(objectives) > 1 else MONITORS
    for name in objectives:
        if name not in known:
            raise ConfigError(f"hydra.sweeper.objectives cannot have '{name}'. {nearest(name, known)}")


def _kept(settings: SweepSettings) -> int | None:
    """The finalists are trained again from nothing, but their first run may be the one that wins."""
    keep = settings.keep_checkpoints
    return None if keep is None else max(keep, settings.finalists, 1)


def _directions(settings: SweepSettings, objectives: Sequence[str]) -> tuple[str, ...]:
    """One for each objective: as configured, or as the metric's name has it."""
    if settings.direction is None:
        higher = [name for name in objectives if name != PARAMETERS and monitored(name).higher_is_better]
        return tuple("maximize" if name in higher else "minimize" for name in objectives)
    given = [settings.direction] if isinstance(settings.direction, str) else list(settings.direction)
    for direction in given:
        if direction not in ("minimize", "maximize"):
            raise ConfigError(
                f"hydra.sweeper.direction={direction} cannot be. {nearest(direction, ['minimize', 'maximize'])}"
            )
    if len(given) != len(objectives):
        raise ConfigError(
            f"hydra.sweeper.direction has {len(given)} entries for {len(objectives)} objectives "
            f"({', '.join(objectives)})."
        )
    return tuple(given)


def _identity(plan: Plan, config: Config) -> dict[str, str]:
    """What makes two starts the same sweep: the space, the objectives, and every key that is not searched."""
    searched = {key.lstrip("+") for key in plan.space.distributions}
    keys = {
        key: str(value)
        for key, value in flatten(config.plain).items()
        if not any(key == free or key.startswith(f"{free}.") for free in (*FREE, *searched))
    }
    return {**keys, **plan.space.identity(), "objectives": ", ".join(plan.objectives)}


def _fixed(plan: Plan) -> dict[str, str]:
    pairs = (override.partition("=") for override in plan.space.fixed)
    return {key.lstrip("+~"): value for key, _, value in pairs if key}


def _failures(trials: Sequence[FrozenTrial], plan: Plan) -> str:
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    finished = sum(trial.state.is_finished() for trial in trials)
    last = failed[-1]
    return (
        f"{len(failed)} of {finished} trials failed, more than hydra.sweeper.max_failure_rate={plan.max_failure_rate} "
        f"allows: the sweep was stopped. The last: trial {last.number}: {last.user_attrs.get('reason', 'no reason')} "
        f"Its log is in {last.user_attrs.get('folder', plan.folder)}. Mend the cause and begin a new study; or go on "
        "with a higher max_failure_rate."
    )
