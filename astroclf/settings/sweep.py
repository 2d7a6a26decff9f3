"""A sweep: what is searched, by how many trials and workers, and what its end looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import Settings, above, at_least

EARLY_SECONDS = 60  # so much earlier than asked for, SLURM's manual says, a signal may come


@dataclass(frozen=True, kw_only=True)
class SlurmSettings(Settings):
    """What a job that is a worker of a sweep asks SLURM for.

    Raises
    ------
    ConfigError
        A value that no job can have.
    """

    section = "hydra.sweeper.slurm"

    partition: str | None
    account: str | None
    qos: str | None
    minutes: Annotated[int, at_least(1)]
    save_seconds: Annotated[int, at_least(1)]
    gpus: Annotated[int, at_least(0)]
    cpus: Annotated[int, at_least(1)]
    mem_gb: Annotated[float | None, above(0)]
    setup: list[str]
    options: dict[str, Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.save_seconds + EARLY_SECONDS >= 60 * self.minutes:
            raise ConfigError(
                f"hydra.sweeper.slurm.minutes={self.minutes} leaves no time to train: a job is asked to save up to "
                f"{self.save_seconds} + {EARLY_SECONDS} seconds before its end (hydra.sweeper.slurm.save_seconds, and "
                "what SLURM may be early)."
            )


@dataclass(frozen=True, kw_only=True)
class RaySettings(Settings):
    """What an actor that is a worker of a sweep asks Ray for."""

    section = "hydra.sweeper.ray"

    address: str
    gpus: Annotated[float, at_least(0)]
    cpus: Annotated[float, above(0)]
    mem_gb: Annotated[float | None, above(0)]
    env: dict[str, Any]


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
    workers: Literal["local", "slurm", "ray"]
    slurm: SlurmSettings
    ray: RaySettings
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
