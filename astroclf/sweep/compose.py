"""From a trial's overrides to its typed config: Hydra's own composition, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict

from astroclf.config.compose import checked_as, config_dir
from astroclf.config.resume import dotted_keys
from astroclf.settings.schema import Config
from astroclf.sweep.space import as_text

_MISSING = object()


@dataclass(frozen=True)
class Composer:
    """Composes as the sweep's command line did; goes to worker processes by pickling.

    Attributes
    ----------
    loader
        Hydra's config loader.
    master
        The sweep's own composition, with its ``hydra`` node.
    """

    loader: Any
    master: DictConfig
    kept: dict[tuple[str, ...], tuple[DictConfig, Any]] = field(default_factory=dict, repr=False, compare=False)

    def config(self, overrides: Sequence[str]) -> Config:
        """The typed config of one trial.

        Raises
        ------
        ConfigError
            A value that no trial can have.
        """
        composed, hydra = self._compose(overrides)
        return checked_as(Config, composed, hydra)

    def texts(self, overrides: Sequence[str]) -> dict[str, str]:
        """Every group's choice and every key's value, as text: what conditions of a search space look at."""
        composed, hydra = self._compose(overrides)
        values = {key: OmegaConf.select(composed, key) for key in dotted_keys(composed)}
        return {
            **{key: as_text(value) for key, value in values.items() if not OmegaConf.is_config(value)},
            **{str(group): str(choice) for group, choice in hydra.runtime.choices.items() if choice is not None},
        }

    def _compose(self, overrides: Sequence[str]) -> tuple[DictConfig, Any]:
        """What Hydra makes of these overrides.

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
        """Hydra's composition, and its ``hydra`` node apart."""
        composed = self.loader.load_sweep_config(self.master, list(overrides))
        hydra = composed.hydra
        with open_dict(composed):
            del composed["hydra"]
        return composed, hydra

    def _is_value(self, override: Override) -> bool:
        """Whether it sets a key that is there, and chooses no file."""
        key = override.key_or_group
        return (
            override.type == OverrideType.CHANGE
            and not override.is_sweep_override()
            and override.package is None
            and not key.startswith("hydra.")
            and not (config_dir() / key).is_dir()
            and key not in self.master.hydra.runtime.choices
        )
