"""Hydra's ``-m``: a sweeper in place of hydra-optuna-sweeper's, with the same override syntax and sampler configs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from astroclf.config.validate import typed_section
from astroclf.settings.sweep import SweepSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.sweep import coordinator
else:  # and with it Optuna, which a single run does not need
    coordinator = lazy_import("astroclf.sweep.coordinator")


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
        coordinator.Coordinator(typed_section(SweepSettings, self.options), self.loader, self.master).run(arguments)
