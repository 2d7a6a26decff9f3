"""The search space of a sweep: which keys take which values, under which conditions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from astroclf.errors import ConfigError
from astroclf.util.text import nearest


@dataclass(frozen=True)
class SearchSpace:
    """What a sweep searches.

    Attributes
    ----------
    distributions
        By key, in an order in which conditions come before what depends on them.
    fixed
        The command line's other overrides, as Hydra takes them.
    when
        ``{key: {other: values}}``: the key is searched only where each of the others has one of its values.
    """

    distributions: dict[str, BaseDistribution]
    fixed: tuple[str, ...]
    when: dict[str, dict[str, list[str]]]

    @classmethod
    def parse(
        cls, arguments: Sequence[str], params: Mapping[str, Any], when: Mapping[str, Mapping[str, Any]]
    ) -> SearchSpace:
        """From Hydra's sweep syntax: the config's `params`, and the command line, which goes before them.

        Raises
        ------
        ConfigError
            A range without values, nothing to search, or a condition on what is not searched.
        """
        lines = [f"{key}={value}" for key, value in params.items()]
        try:
            distributions, fixed, deletions = create_params_from_overrides(_last_words([*lines, *arguments]))
        except (ValueError, NotImplementedError, AssertionError) as error:  # the plugin asserts what a choice may hold
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
        return cls(_parents_first(distributions, conditions), overrides, conditions)

    def suggest(self, trial: Trial, base: Mapping[str, str]) -> dict[str, Any]:
        """Ask the sampler for the keys that apply; `base` has the values of keys that are not searched, as text."""
        params: dict[str, Any] = {}
        for key, distribution in self.distributions.items():
            if self._applies(key, params, base):
                params[key] = trial._suggest(key, distribution)
        return params

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The trial's overrides, as they could be typed."""
        return [*self.fixed, *(f"{key}={as_text(value)}" for key, value in params.items())]

    def example(self, key: str, value: Any, base: Mapping[str, str]) -> dict[str, Any] | None:
        """A trial in which `key` has this value: the others are at their first, or as its conditions want them."""
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
        """Values of a key to begin with; none of one that is not searched."""
        distribution = self.distributions.get(key)
        if isinstance(distribution, CategoricalDistribution):
            return list(distribution.choices)
        return list(_ends(distribution)) if distribution is not None else []

    def combinations(self, base: Mapping[str, str], limit: int) -> list[dict[str, Any]] | None:
        """Every choice there is; None where a key is continuous, or there are more than `limit`."""
        values = {key: _values(distribution) for key, distribution in self.distributions.items()}
        if any(choices is None for choices in values.values()):
            return None
        found: list[dict[str, Any]] = []
        for combination in self._branches(list(self.distributions), {}, values, base):
            found.append(combination)
            if len(found) > limit:
                return None
        return found

    def extremes(self) -> Iterator[tuple[str, Any]]:
        """One value after the other that a key can take: every choice, and both ends of a range."""
        for key in self.distributions:
            for value in self._firsts(key):
                yield key, value

    def describe(self) -> dict[str, str]:
        """Key by key, as people and ``hydra.sweeper.params`` write it."""
        return {key: _describe(distribution) for key, distribution in self.distributions.items()}

    def identity(self) -> dict[str, str]:
        """What must be equal for two starts to be the same search."""
        space = {f"search {key}": distribution_to_json(value) for key, value in self.distributions.items()}
        return {**space, **{f"when {key}": json.dumps(value, sort_keys=True) for key, value in self.when.items()}}

    def _applies(self, key: str, params: Mapping[str, Any], base: Mapping[str, str]) -> bool:
        for other, wanted in self.when.get(key, {}).items():
            if other in self.distributions and other not in params:
                return False  # it does not apply itself
            if (as_text(params[other]) if other in params else base.get(other)) not in wanted:
                return False
        return True

    def _branches(
        self, keys: list[str], chosen: dict[str, Any], values: Mapping[str, list[Any] | None], base: Mapping[str, str]
    ) -> Iterator[dict[str, Any]]:
        if not keys:
            yield chosen
        elif not self._applies(keys[0], chosen, base):
            yield from self._branches(keys[1:], chosen, values, base)
        else:
            for value in values[keys[0]] or ():
                yield from self._branches(keys[1:], {**chosen, keys[0]: value}, values, base)


def _last_words(lines: Sequence[str]) -> list[str]:
    """Of several overrides of one key the last, as everywhere in Hydra."""
    parsed = OverridesParser.create().parse_overrides(list(lines))
    last = {override.key_or_group: str(override.input_line) for override in parsed}
    return list(last.values())


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
    """As Hydra writes it on a command line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


def _values(distribution: BaseDistribution) -> list[Any] | None:
    """Of a key that has a countable number of them."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution) and not distribution.log:
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        count = math.floor((distribution.high - distribution.low) / distribution.step + 1e-9) + 1
        return [distribution.low + number * distribution.step for number in range(count)]
    return None


def _ends(distribution: BaseDistribution) -> tuple[Any, ...]:
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    return distribution.low, distribution.high


def _describe(distribution: BaseDistribution) -> str:
    if isinstance(distribution, CategoricalDistribution):
        return f"choice({', '.join(map(as_text, distribution.choices))})"
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return f"from {distribution.low} to {distribution.high} in steps of {distribution.step}"
    interval = f"interval({distribution.low}, {distribution.high})"
    return f"tag(log, {interval})" if distribution.log else interval
