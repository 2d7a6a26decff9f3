"""What a challenger must show before it replaces a champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from astroclf.errors import ConfigError


@dataclass
class PromotionPolicy:
    """The keys of `promotion.*`; conf/config.yaml explains them, and these defaults repeat its values.

    Raises
    ------
    ConfigError
        A value out of range.
    """

    metric: Literal["accuracy", "macro_f1"] = "accuracy"
    interval: float = 0.95
    resamples: int = 10_000
    max_recall_loss: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.interval < 1:
            raise ConfigError(f"'promotion.interval' is {self.interval}; it must be between 0 and 1, such as 0.95.")
        if self.resamples < 1000:
            raise ConfigError(
                f"'promotion.resamples' is {self.resamples}; the ends of an interval need at least 1000 resamples."
            )
        if not 0 <= self.max_recall_loss <= 1:
            raise ConfigError(f"'promotion.max_recall_loss' is {self.max_recall_loss}; it must be from 0 to 1.")
