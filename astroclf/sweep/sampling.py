"""Samplers and pruners from their configs in ``hydra/sweeper/sampler`` and ``hydra/sweeper/pruner``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler

from astroclf.errors import ConfigError

_SAMPLERS = ("hydra_plugins.hydra_optuna_sweeper.*", "optuna.samplers.*")
_PRUNERS = ("optuna.pruners.*",)
# Its sequence of suggestions lives in the study: all workers must agree on the seed.
_SHARED_SEED = "QMCSampler"


def build_sampler(config: Mapping[str, Any], trials: int) -> BaseSampler:
    """The sampler that suggests the trial after `trials` others.

    Every worker has one of its own. With one seed for all of them each would suggest the same, so the seed is the
    config's and the number of trials together.
    """
    if is_grid(config):  # its combinations are planned with the study: no sampler has a say
        return RandomSampler()
    options = dict(config)
    if options.get("seed") is not None and not str(options["_target_"]).endswith(_SHARED_SEED):
        options["seed"] = (int(options["seed"]) * 1_000_003 + trials) % 2**32
    return _build("sampler", options, _SAMPLERS)


def build_pruner(config: Mapping[str, Any]) -> BasePruner:
    """The pruner, whose knowledge lies in the study: every worker's judges alike."""
    return _build("pruner", dict(config), _PRUNERS)


def is_grid(config: Mapping[str, Any]) -> bool:
    """Whether every combination is to be tried."""
    return str(config["_target_"]).endswith("GridSampler")


def _build(what: str, options: dict[str, Any], whitelist: tuple[str, ...]) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # Optuna calls what has worked for years experimental
            return instantiate(options, _execution_whitelist_=whitelist)
    except (HydraException, TypeError, ValueError, ImportError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ConfigError(f"hydra/sweeper/{what}: {options.get('_target_')} cannot be made: {reason}") from error
