"""How a data set is divided, as plain values: checked before anything heavy is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from astroclf.errors import ConfigError

POLICIES = ("keep", "drop", "majority")


@dataclass(frozen=True)
class SplitSettings:
    """How a data set is divided: the ``dataset.*`` keys of these names, explained in ``conf/dataset/_base.yaml``."""

    val_fraction: float
    test_fraction: float
    split_seed: int
    fold: str | None = None
    label_fraction: float = 1.0
    label_conflicts: str = "keep"
    split_file: str | None = None
    sky_arcsec: float | None = None

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """From the keys of a ``dataset`` config, others left aside."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def __post_init__(self) -> None:
        if self.label_conflicts not in POLICIES:
            known = ", ".join(POLICIES)
            raise ConfigError(f"dataset.label_conflicts={self.label_conflicts} is not one of {known}.")
        if not 0 < self.label_fraction <= 1:
            raise ConfigError(f"dataset.label_fraction={self.label_fraction} is no share above 0 and up to 1.")
        if self.sky_arcsec is not None and not self.sky_arcsec > 0:
            raise ConfigError(f"dataset.sky_arcsec={self.sky_arcsec} is no separation above 0; null ignores positions.")
        test = self.test_fraction if self.fold is None else 0
        if not (self.val_fraction >= 0 and test >= 0 and self.val_fraction + test < 1):
            raise ConfigError(
                f"dataset.val_fraction={self.val_fraction} and dataset.test_fraction={self.test_fraction}: both must "
                "be 0 or more, and leave some to train."
            )
        self.fold_of()
        if self.fold is not None and self.split_file is not None:
            raise ConfigError("dataset.fold and dataset.split_file both say what is tested: give one of them.")

    def fold_of(self) -> tuple[int, int] | None:
        """(which, of how many), counted from 1; None without folds."""
        if self.fold is None:
            return None
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", str(self.fold))
        which, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= which <= count or count < 2:
            raise ConfigError(f"dataset.fold={self.fold} is no fold: 2/5 is the second of five.")
        return which, count
