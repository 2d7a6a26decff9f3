"""From a trial's overrides to its typed config: Hydra's own composition, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from astroclf.command import checked_as
from astroclf.resume import dotted_keys
from astroclf.schema import Config
from astroclf.sweep.space import as_text


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
        composed = self.loader.load_sweep_config(self.master, list(overrides))
        hydra = composed.hydra
        with open_dict(composed):
            del composed["hydra"]
        return composed, hydra
