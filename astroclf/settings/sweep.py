"""A sweep: what is searched, by how many trials and workers, and what its end looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from astroclf.errors import ConfigError
from astroclf.settings.base import Settings, at_least


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
    n_trials: Annotated[int | None, at_least(1)]
    n_jobs: Annotated[int, at_least(1)]
    params: dict[str, Any]
    when: dict[str, Any]
    objectives: list[str] | None
    direction: list[str] | str | None
    max_failure_rate: float
    keep_checkpoints: Annotated[int | None, at_least(0)]
    finalists: Annotated[int, at_least(0)]
    finalist_seeds: Annotated[int, at_least(1)]
    sampler: dict[str, Any]
    pruner: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_failure_rate <= 1:
            raise ConfigError(f"hydra.sweeper.max_failure_rate={self.max_failure_rate} must be between 0 and 1.")
