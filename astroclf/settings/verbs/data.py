"""What the verbs take that work on data sets: check, prepare, stores, simulate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import PATH, PATH_OR_NAME, Settings, at_least
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.verbs.sections import CacheSettings, MachineSettings, StoreSettings, ThreadSettings

_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, kw_only=True)
class CheckConfig(Settings):
    """What ``conf/check.yaml`` says: a data set to look through, and what to doubt its labels with.

    Raises
    ------
    ConfigError
        A model and folds, which would both doubt them.
    """

    dataset: DatasetSettings
    tracking: StoreSettings
    trainer: MachineSettings
    model: Annotated[str | None, PATH_OR_NAME]
    reference: Annotated[str | None, PATH_OR_NAME]
    folds: Annotated[int | None, at_least(2)]
    fold_epochs: Annotated[int | Literal["auto"], at_least(1)]
    fold_image_size: Annotated[int, at_least(16)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is not None and self.folds is not None:
            raise ConfigError(
                f"model={self.model} and folds={self.folds} both say what doubts the labels: give one of them."
            )


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """What ``conf/prepare.yaml`` says: a data set to decode."""

    dataset: DatasetSettings
    trainer: ThreadSettings


@dataclass(frozen=True, kw_only=True)
class StoresConfig(Settings):
    """What ``conf/stores.yaml`` says: a cache, and what to remove from it.

    Raises
    ------
    ConfigError
        A time that is none.
    """

    dataset: CacheSettings
    remove: list[str] | str
    unused_for: str | None
    unfinished: bool
    all: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unused_seconds()

    @property
    def names(self) -> list[str]:
        """The entries to remove, by their names."""
        return [self.remove] if isinstance(self.remove, str) else self.remove

    def removes(self) -> bool:
        """Return whether anything is to be removed."""
        return bool(self.names or self.unused_for or self.unfinished or self.all)

    def unused_seconds(self) -> float | None:
        """Return for how long nobody must have used what is removed for that, in seconds."""
        if self.unused_for is None:
            return None
        match = re.fullmatch(r"(\d+)([hdw])", self.unused_for)
        if match is None:
            raise ConfigError(f"unused_for={self.unused_for} is no time such as 30d (days), 12h (hours) or 2w (weeks).")
        return int(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(Settings):
    """What ``conf/simulate.yaml`` says: what to simulate, how much of it, and where to write it."""

    kind: Literal["galaxy10", "astro8"]
    output: Annotated[str, PATH]
    samples: Annotated[int, at_least(1)]
    image_size: Annotated[int, at_least(8)]
    seed: Annotated[int, at_least(0)]
    contact_sheet: Annotated[str | None, PATH]
    trainer: ThreadSettings
