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
    contradictions: str = "keep"
    split_file: str | None = None

    @classmethod
    def from_config(cls, options: Mapping[str, Any]) -> Self:
        """From the keys of a ``dataset`` config, others left aside."""
        return cls(**{field.name: options[field.name] for field in fields(cls) if field.name in options})

    def __post_init__(self) -> None:
        if self.contradictions not in POLICIES:
            known = ", ".join(POLICIES)
            raise ConfigError(f"dataset.contradictions={self.contradictions} is not one of {known}.")
        if not 0 < self.label_fraction <= 1:
            raise ConfigError(f"dataset.label_fraction={self.label_fraction} is no share above 0 and up to 1.")
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
