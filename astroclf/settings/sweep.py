"""A sweep: what is searched, by how many trials and workers, and what its end looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from astroclf.errors import ConfigError
from astroclf.settings.base import Settings


@dataclass(frozen=True, kw_only=True)
class SweepSettings(Settings):
    """What ``-m`` does; ``conf/hydra/sweeper/optuna.yaml`` explains each key.

    Raises
    ------
    ConfigError
        A value that no sweep can have.
    """

    section = "hydra.sweeper"

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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low in (("n_trials", 1), ("n_jobs", 1), ("finalists", 0), ("finalist_seeds", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ConfigError(f"hydra.sweeper.{name}={value} must be a whole number from {low}.")
        if not isinstance(self.storage, str):
            raise ConfigError("hydra.sweeper.storage must name a database, such as sqlite:///experiments/optuna.db.")
        if isinstance(self.objectives, str):
            raise ConfigError(f"hydra.sweeper.objectives={self.objectives} must be a list: [{self.objectives}].")
        if not 0 <= self.max_failure_rate <= 1:
            raise ConfigError(f"hydra.sweeper.max_failure_rate={self.max_failure_rate} must be between 0 and 1.")
