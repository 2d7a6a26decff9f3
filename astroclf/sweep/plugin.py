"""Hydra's ``-m``: a sweeper in place of hydra-optuna-sweeper's, with the same override syntax and sampler configs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.sweep import coordinator
else:  # and with it Optuna, which a single run does not need
    coordinator = lazy_import("astroclf.sweep.coordinator")


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
    """The sweeper that Hydra calls for ``-m``: an Optuna study, run by `astroclf.sweep.coordinator`."""

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands over before it calls `sweep`."""
        self.loader, self.master = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> None:
        """Search until `n_trials` trials are finished and the best is recorded."""
        coordinator.Coordinator(SweepSettings(**self.options), self.loader, self.master).run(arguments)
