"""What a sweep searches, which keys take which values under which conditions, and who suggests and prunes."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.utils import instantiate
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import Trial

from astroclf.errors import ConfigError
from astroclf.settings.components import trusted_packages
from astroclf.sweep.private import parse_sweep_syntax
from astroclf.util.text import nearest

# Its sequence of suggestions lives in the study: all workers must agree on the seed.
SAMPLER_OF_ONE_SEED = "QMCSampler"


@dataclass(frozen=True)
class SearchSpace:
    """The keys that a sweep searches, with their values and conditions, beside those that it fixes.

    Attributes
    ----------
    distributions
        By key, in an order in which conditions come before what depends on them.
    fixed
        The command line's other overrides, as Hydra takes them.
    when
        ``{key: {other: values}}``: the key is searched only where each of the others has one of its values.
    intervals
        The keys that were given an interval, and no list or range of values: nobody wants each of its whole numbers.
    """

    distributions: dict[str, BaseDistribution]
    fixed: tuple[str, ...]
    when: dict[str, dict[str, list[str]]]
    intervals: frozenset[str]

    @classmethod
    def parse(
        cls, arguments: Sequence[str], params: Mapping[str, Any], when: Mapping[str, Mapping[str, Any]]
    ) -> SearchSpace:
        """Read Hydra's sweep syntax: the config's `params`, and the command line, which goes before them.

        A key of `params` is written with dots, or as mappings in each other.

        Raises
        ------
        ConfigError
            What Hydra cannot read, a range without values, nothing to search, or a condition on what is not searched.
        """
        given = _last_of_each_key([*(f"{key}={value}" for key, value in _dotted(params)), *arguments])
        try:
            distributions, fixed, deletions = parse_sweep_syntax([str(override.input_line) for override in given])
        except ValueError as error:
            raise ConfigError(f"The search space cannot be read: {' '.join(str(error).split())}") from error
        if not distributions:
            raise ConfigError(
                "Nothing is searched: give at least one key several values, such as "
                "optimizer.lr='tag(log, interval(1e-4, 1e-2))' or backbone=resnet18,custom6conv, or choose a search "
                "space with sweep=galaxy10. Leave out -m for a single run."
            )
        if deletions:
            raise ConfigError(
                f"{deletions[0]}: a sweep cannot take a key away, for its best trial could not be kept as an "
                "experiment file. Give the key a value instead, such as null."
            )
        for key in when:
            if key not in distributions and key not in fixed:
                known = nearest(key, distributions)
                raise ConfigError(f"hydra.sweeper.when names '{key}', which is not searched. {known}")
        conditions = {key: _as_texts(when[key]) for key in when if key in distributions}
        overrides = tuple(f"{key}={value}" for key, value in fixed.items())
        intervals = frozenset(override.get_key_element() for override in given if override.is_interval_sweep())
        return cls(_parents_first(distributions, conditions), overrides, conditions, intervals)

    def suggest(self, trial: Trial, base: Mapping[str, str]) -> dict[str, Any]:
        """Ask the sampler for the keys that apply; `base` has the values of keys that are not searched, as text."""
        params: dict[str, Any] = {}
        for key, distribution in self.distributions.items():
            if self._applies(key, params, base):
                params[key] = _suggest(trial, key, distribution)
        return params

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Return a trial's overrides, as they could be typed."""
        return [*self.fixed, *(f"{key}={as_text(value)}" for key, value in params.items())]

    def example(self, key: str, value: Any, base: Mapping[str, str]) -> dict[str, Any] | None:
        """Make up a trial in which `key` has this value: others have their first, or what its conditions want."""
        wanted = {key: value}
        for known in self._ancestors(key):
            for other, texts in self.when.get(known, {}).items():
                fitting = [choice for choice in self._firsts(other) if as_text(choice) in texts]
                if fitting and other != key:
                    wanted[other] = fitting[0]
        params: dict[str, Any] = {}
        for name in self.distributions:
            if self._applies(name, params, base):
                params[name] = wanted.get(name, self._firsts(name)[0])
        return params if key in params else None

    def _ancestors(self, key: str) -> list[str]:
        return [key, *(above for other in self.when.get(key, {}) for above in self._ancestors(other))]

    def _firsts(self, key: str) -> list[Any]:
        """List values of a key to begin with; none of one that is not searched."""
        distribution = self.distributions.get(key)
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        return list(_ends(distribution)) if distribution is not None else []

    def count(self, base: Mapping[str, str]) -> int | None:
        """Count the combinations that there are; None where a key takes any number of an interval."""
        if self.intervals:
            return None
        return self._count(list(self.distributions), {}, base)

    def combinations(self, base: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield every combination, in order; only where `count` has a number."""
        values = {key: _values(distribution) for key, distribution in self.distributions.items()}
        return self._branches(list(self.distributions), {}, values, base)

    def extremes(self) -> Iterator[tuple[str, Any]]:
        """Yield each key with one value after the other: every choice, and both ends of a range."""
        for key in self.distributions:
            for value in self._firsts(key):
                yield key, value

    def describe(self) -> dict[str, str]:
        """Write the space key by key, as people and ``hydra.sweeper.params`` do."""
        return {key: self._described(key) for key in self.distributions}

    def identity(self) -> dict[str, str]:
        """Return what must be equal for two starts to be the same search."""
        space = {f"search {key}": distribution_to_json(value) for key, value in self.distributions.items()}
        return {**space, **{f"when {key}": json.dumps(value, sort_keys=True) for key, value in self.when.items()}}

    def _described(self, key: str) -> str:
        distribution = self.distributions[key]
        if isinstance(distribution, CategoricalDistribution):
            return f"choice({', '.join(map(as_text, distribution.choices))})"
        assert isinstance(distribution, (IntDistribution, FloatDistribution))
        if key in self.intervals:
            interval = f"interval({distribution.low}, {distribution.high})"
            return f"tag(log, {interval})" if distribution.log else interval
        return f"from {distribution.low} to {distribution.high} in steps of {distribution.step}"

    def _applies(self, key: str, params: Mapping[str, Any], base: Mapping[str, str]) -> bool:
        for other, wanted in self.when.get(key, {}).items():
            if other in self.distributions and other not in params:
                return False  # it does not apply itself
            if (as_text(params[other]) if other in params else base.get(other)) not in wanted:
                return False
        return True

    def _branches(
        self, keys: list[str], chosen: dict[str, Any], values: Mapping[str, Sequence[Any]], base: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        if not keys:
            yield chosen
        elif not self._applies(keys[0], chosen, base):
            yield from self._branches(keys[1:], chosen, values, base)
        else:
            for value in values[keys[0]]:
                yield from self._branches(keys[1:], {**chosen, keys[0]: value}, values, base)

    def _count(self, keys: list[str], chosen: dict[str, Any], base: Mapping[str, str]) -> int:
        """Count what `_branches` yields without the branches, of which a long range may have millions."""
        if not keys:
            return 1
        key, rest = keys[0], keys[1:]
        if not self._applies(key, chosen, base):
            return self._count(rest, chosen, base)
        if any(key in conditions for conditions in self.when.values()):
            return sum(self._count(rest, {**chosen, key: value}, base) for value in _values(self.distributions[key]))
        return len(_values(self.distributions[key])) * self._count(rest, chosen, base)


def _last_of_each_key(lines: Sequence[str]) -> list[Override]:
    """Keep the last of several overrides of one key, as everywhere in Hydra."""
    parser = OverridesParser.create()
    last: dict[str, Override] = {}
    for line in lines:
        try:
            override = parser.parse_override(line)
        except HydraException as error:
            raise ConfigError(
                f"The search space cannot be read: {line}. Values are written as choice(16, 32), range(1, 5), "
                "interval(0, 1), tag(log, interval(1e-4, 1e-2)), or one value."
            ) from error
        last[override.key_or_group] = override
    return list(last.values())


def _dotted(params: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key with its dots, and what is said of it."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _as_texts(conditions: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        other: [as_text(value) for value in (values if isinstance(values, (list, tuple)) else [values])]
        for other, values in conditions.items()
    }


def _parents_first(
    distributions: Mapping[str, BaseDistribution], when: Mapping[str, Mapping[str, Any]]
) -> dict[str, BaseDistribution]:
    left, ordered = dict(distributions), dict[str, BaseDistribution]()
    while left:
        ready = [key for key in left if not any(other in left for other in when.get(key, {}))]
        if not ready:
            raise ConfigError(f"hydra.sweeper.when goes round in a circle: {', '.join(left)} wait for each other.")
        for key in ready:
            ordered[key] = left.pop(key)
    return ordered


def as_text(value: Any) -> str:
    """Write a value as it stands on Hydra's command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _values(distribution: BaseDistribution) -> Sequence[Any]:
    """List the values of a key that was given a list or a range of them."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    if isinstance(distribution, IntDistribution):
        return range(distribution.low, distribution.high + 1, distribution.step)
    assert isinstance(distribution, FloatDistribution)
    assert distribution.step is not None
    low, step = Decimal(str(distribution.low)), Decimal(str(distribution.step))  # 0.3, not 0.30000000000000004
    count = math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
    return [float(low + number * step) for number in range(count)]


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    """Ask the sampler for a value."""
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, FloatDistribution)
    return trial.suggest_float(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low, distribution.high


# ---- samplers and pruners, from their configs in hydra/sweeper/sampler and hydra/sweeper/pruner ----------------------


def build_sampler(config: Mapping[str, Any], trials: int) -> BaseSampler:
    """Build the sampler that suggests the trial after `trials` others.

    Every worker has one of its own. With one seed for all of them each would suggest the same, so the seed is the
    config's and the number of trials together.
    """
    if is_grid(config):  # its combinations are planned with the study: no sampler has a say
        return RandomSampler()
    options = dict(config)
    if options.get("seed") is not None and not str(options["_target_"]).endswith(SAMPLER_OF_ONE_SEED):
        options["seed"] = (int(options["seed"]) * 1_000_003 + trials) % 2**32
    return _build("sampler", options)


def build_pruner(config: Mapping[str, Any]) -> BasePruner:
    """Build the pruner, whose knowledge lies in the study: every worker's judges alike."""
    return _build("pruner", dict(config))


def is_grid(config: Mapping[str, Any]) -> bool:
    """Return whether a sampler's config wants every combination tried."""
    return str(config["_target_"]).endswith("GridSampler")


@cache
def _whitelist(group: str) -> tuple[str, ...]:
    """Write the trusted packages of a group as Hydra wants them; looked up once, for each trial has a sampler."""
    return tuple(f"{package}*" for package in trusted_packages(group))


def _build(group: str, options: dict[str, Any]) -> Any:
    """Build a component that may hold others, such as a pruner that wraps another, through Hydra."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Optuna calls what has worked for years experimental
            return instantiate(options, _execution_whitelist_=_whitelist(group))
    except (HydraException, TypeError, ValueError, ImportError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ConfigError(f"hydra/sweeper/{group}: {options.get('_target_')} cannot be made: {reason}") from error
