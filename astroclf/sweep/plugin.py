"""Hydra's ``-m``: a sweeper in place of hydra-optuna-sweeper's, with the same override syntax and sampler configs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


@dataclass(frozen=True)
class SweepSettings:
    """The keys of ``conf/hydra/sweeper/optuna.yaml``, where each is explained."""

    study_name: str | None
    storage: str
    n_trials: int
    n_jobs: int
    params: dict[str, Any]
    when: dict[str, Any]
    objectives: list[str] | None
    direction: list[str] | str | None
    max_failure_rate: float
    keep_checkpoints: int | None
    finalists: int
    finalist_seeds: int
    sampler: dict[str, Any]
    pruner: dict[str, Any]


class OptunaSweeper(Sweeper):
    """Runs an Optuna study; `astroclf.sweep.coordinator` does the work, and is imported when it is wanted."""

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's hook before `sweep`."""
        self.loader, self.master = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> None:
        """Search; returns when `n_trials` trials are finished and the best is recorded."""
        from astroclf.sweep.coordinator import Coordinator

        Coordinator(SweepSettings(**self.options), self.loader, self.master).run(arguments)
