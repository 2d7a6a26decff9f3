"""What a sweep is to do, checked whole before its first trial; every worker is given it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from astroclf.config.compose import checked_as
from astroclf.config.resume import dotted_keys
from astroclf.errors import AstroclfError, ConfigError
from astroclf.evaluation.metrics import MONITORS, monitored
from astroclf.run.rehearsal import check_record
from astroclf.settings.config import Config
from astroclf.settings.sweep import SweepSettings
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.space import SearchSpace, as_text, build_pruner, build_sampler, is_grid
from astroclf.sweep.storage import absolute_storage
from astroclf.tracking.address import warn_of_password
from astroclf.util.invocation import Command, typed_command
from astroclf.util.text import flatten, nearest

PARAMETER_COUNT = "model/parameters"  # beside the validation metrics, what one of several objectives may be
INTERVAL_TRIALS = 20  # where n_trials is null and the combinations cannot be counted
MAX_GRID_COMBINATIONS = 10_000
# What may differ between two starts of one study without making its trials another experiment.
MAY_DIFFER_BETWEEN_STARTS = (
    "dataset.path", "dataset.cache_dir", "dataset.cache_compression", "dataset.download", "dataset.keep_images_on",
    "tracking", "trainer.compile", "trainer.conv_autotune", "trainer.cuda_graph", "trainer.device",
    "trainer.save_every_minutes", "trainer.num_workers",
)  # fmt: skip
_MISSING = object()


@dataclass(frozen=True)
class Composer:
    """Hydra's own composition, from a trial's overrides to its typed config, in any process.

    It goes to worker processes by pickling, and composes there as the sweep's command line did.

    Attributes
    ----------
    loader
        Hydra's config loader.
    master
        The sweep's own composition, with its ``hydra`` node.
    kept
        What has been composed, by the overrides that are no plain values.
    """

    loader: Any
    master: DictConfig
    kept: dict[tuple[str, ...], tuple[DictConfig, Any]] = field(default_factory=dict, repr=False, compare=False)

    def config(self, overrides: Sequence[str]) -> Config:
        """Compose and check the typed config of one trial.

        Raises
        ------
        ConfigError
            A value that no trial can have.
        """
        composed, hydra = self._compose(overrides)
        return checked_as(Config, composed, hydra)

    def texts(self, overrides: Sequence[str]) -> dict[str, str]:
        """Return each group's choice and each key's value as text: what conditions of a search space look at."""
        composed, hydra = self._compose(overrides)
        values = {key: OmegaConf.select(composed, key) for key in dotted_keys(composed)}
        return {
            **{key: as_text(value) for key, value in values.items() if not OmegaConf.is_config(value)},
            **{str(group): str(choice) for group, choice in hydra.runtime.choices.items() if choice is not None},
        }

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        """Compose what Hydra makes of these overrides.

        It reads every yaml file anew for that, a tenth of a second each time. Trials differ mostly in plain values, so
        what the other overrides compose is kept, and the values are set in a copy.
        """
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        plain = [override for override in parsed if self._is_value(override)]
        others = tuple(line for line, override in zip(overrides, parsed, strict=True) if override not in plain)
        if others not in self.kept:
            self.kept[others] = self._load(others)
        composed, hydra = self.kept[others]
        if all(
            OmegaConf.select(composed, override.key_or_group, default=_MISSING) is not _MISSING for override in plain
        ):
            composed = composed.copy()
            for override in plain:
                OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
            return composed, hydra
        return self._load(overrides)  # refuses the key in Hydra's words

    def _load(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        """Let Hydra compose, and take its ``hydra`` node apart."""
        composed = self.loader.load_sweep_config(self.master, list(overrides))
        hydra = composed.hydra
        with open_dict(composed):
            del composed["hydra"]
        return composed, hydra

    def _is_value(self, override: Override) -> bool:
        """Return whether an override sets a key that is there, and chooses no file."""
        key = override.key_or_group
        return (
            override.type == OverrideType.CHANGE
            and not override.is_sweep_override()
            and override.package is None
            and not key.startswith("hydra.")
            and not (config_dir() / key).is_dir()
            and key not in self.master.hydra.runtime.choices
        )


@dataclass(frozen=True)
class SweepPlan:
    """All that every worker of a sweep knows; it travels to their processes by pickling.

    Attributes
    ----------
    n_trials, combinations
        How many trials there are to be in all, and how many combinations of values there are, if these can be counted.
    objectives
        Metrics of the best validation that the study is told.
    keep_checkpoints
        Of how many of the best trials; None: of all.
    base
        Values of the keys that are not searched, as text.
    sampler, pruner
        Their configs: a ``_target_`` and its arguments.
    command
        The sweep's own; what it writes down for others begins alike.
    uri, parent_run_id
        The tracking store and the sweep's MLflow run; None where nothing is tracked.
    """

    name: str
    storage: str
    folder: Path
    n_trials: int
    combinations: int | None
    max_failure_rate: float
    directions: tuple[str, ...]
    objectives: tuple[str, ...]
    keep_checkpoints: int | None
    space: SearchSpace
    base: dict[str, str]
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    composer: Composer
    command: Command
    uri: str | None = None
    parent_run_id: str | None = None

    def identity(self, config: Config) -> dict[str, str]:
        """Return what makes two starts the same sweep: the space, the objectives, every key that is not searched."""
        searched = {key.lstrip("+") for key in self.space.distributions}
        keys = {
            key: str(value)
            for key, value in flatten(config.to_plain()).items()
            if not any(key == free or key.startswith(f"{free}.") for free in (*MAY_DIFFER_BETWEEN_STARTS, *searched))
        }
        return {**keys, **self.space.identity(), "objectives": ", ".join(self.objectives)}

    def fixed_values(self) -> dict[str, str]:
        """Return the keys that the command line gives all trials alike, with their values."""
        pairs = (override.partition("=") for override in self.space.fixed)
        return {key.lstrip("+~"): value for key, _, value in pairs if key}


def planned_validations(config: Config) -> int | None:
    """Count the validations of a whole training; None where that depends on the data set's size."""
    trainer = config.trainer
    if trainer.validate_every_steps is not None or trainer.max_steps is not None:
        return None
    return math.ceil(trainer.epochs / trainer.validate_every)


# ---- checked before the first trial ----------------------------------------------------------------------------------


def make_plan(
    settings: SweepSettings, composer: Composer, folder: Path, arguments: Sequence[str]
) -> tuple[SweepPlan, Config, list[dict[str, Any]] | None]:
    """Check all that a sweep's settings and command line ask for, and make its plan.

    Returns
    -------
    tuple
        The plan; the config of one possible trial; and the combinations to try, where no sampler chooses them.

    Raises
    ------
    ConfigError
        What would fail in every trial, or in those of one value.
    """
    space = SearchSpace.parse(arguments, settings.params, settings.when)
    base = composer.texts(space.fixed)
    config = _check_values(space, base, composer)
    if config.resume:
        raise ConfigError("A resumed run cannot be part of a sweep. Leave out -m, or leave out resume.")
    if config.trainer.batch_size == "auto":
        raise ConfigError(
            "trainer.batch_size=auto is for one run: the trials of a sweep share memory, and each would get another "
            "size by chance. Name one, or search it: 'trainer.batch_size=choice(32,64,128)'."
        )
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
    n_trials, total, combinations = _trials(settings, space, base)
    check_record(config.tracking)
    warn_of_password("hydra.sweeper.storage", settings.storage)
    plan = SweepPlan(
        name=str(settings.study_name or folder.name),
        storage=absolute_storage(settings.storage),
        folder=folder.absolute(),
        n_trials=n_trials,
        combinations=total,
        max_failure_rate=settings.max_failure_rate,
        keep_checkpoints=_kept_checkpoints(settings),
        directions=directions,
        objectives=objectives,
        space=space,
        base=base,
        sampler=settings.sampler,
        pruner=pruner,
        composer=composer,
        command=typed_command(),
        uri=config.tracking.uri or None,
    )
    return plan, config, combinations


def check_objectives(objectives: Sequence[str]) -> None:
    """Refuse objectives that no validation gives.

    Raises
    ------
    ConfigError
        With the nearest objective that there is.
    """
    known = (*MONITORS, PARAMETER_COUNT) if len(objectives) > 1 else MONITORS
    for name in objectives:
        if name not in known:
            raise ConfigError(f"hydra.sweeper.objectives cannot have '{name}'. {nearest(name, known)}")


def _check_values(space: SearchSpace, base: Mapping[str, str], composer: Composer) -> Config:
    """Compose each choice and both ends of each range once: nobody wants to hear of a typo from trial 17."""
    config: Config | None = None
    for key, value in space.extremes():
        params = space.example(key, value, base)
        if params is not None:
            try:
                config = composer.config(space.overrides(params))
            except AstroclfError as error:
                raise ConfigError(f"The search space holds {key}={value}, which cannot be. {error}") from error
    if config is None:
        raise ConfigError("No key of the search space is ever searched: the conditions of hydra.sweeper.when fail.")
    return config


def _trials(
    settings: SweepSettings, space: SearchSpace, base: Mapping[str, str]
) -> tuple[int, int | None, list[dict[str, Any]] | None]:
    """Return how many trials there are to be, of how many combinations, and which, where no sampler has to choose."""
    total, wanted = space.count(base), settings.n_trials
    if total is None:
        if is_grid(settings.sampler):
            raise ConfigError(
                f"hydra/sweeper/sampler=grid tries every combination, but {', '.join(sorted(space.intervals))} may be "
                "any number of an interval: give a list or a range of values instead, or leave the sampler out."
            )
        return wanted or INTERVAL_TRIALS, None, None
    number = total if wanted is None else min(wanted, total)
    if number < total and not is_grid(settings.sampler):
        return number, total, None
    if number > MAX_GRID_COMBINATIONS:
        raise ConfigError(
            f"The search space has {total:,} combinations, and a sweep runs {MAX_GRID_COMBINATIONS:,} at most. Give "
            "fewer values, or hydra.sweeper.n_trials=100 for so many of them, chosen by the sampler."
        )
    return number, total, list(islice(space.combinations(base), number))


def _kept_checkpoints(settings: SweepSettings) -> int | None:
    """Count the finalists in: they are trained again from nothing, but their first run may be the one that wins."""
    keep = settings.keep_checkpoints
    return None if keep is None else max(keep, settings.finalists, 1)


def _directions(settings: SweepSettings, objectives: Sequence[str]) -> tuple[str, ...]:
    """Return the direction of each objective: as configured, or as the metric means."""
    if settings.direction is None:
        return tuple("maximize" if _higher_is_better(name) else "minimize" for name in objectives)
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


def _higher_is_better(objective: str) -> bool:
    return objective != PARAMETER_COUNT and monitored(objective).higher_is_better
