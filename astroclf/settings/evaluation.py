"""How a trained model is judged: on the test images, and against the champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import CHANGEABLE, Range, Settings, at_least


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """How answers are computed in test and packaged model; ``conf/config.yaml`` explains each key.

    Raises
    ------
    ConfigError
        Another number of views than 1 and 8, or a value out of range.
    """

    section = "evaluation"

    tta_views: Annotated[int, CHANGEABLE]
    calibration: Annotated[Literal["temperature", "vector", "none"], CHANGEABLE]
    coverage: Annotated[float | None, Range(above=0, below=1), CHANGEABLE]
    novel_share: Annotated[float | None, Range(above=0, below=0.5), CHANGEABLE]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tta_views not in (1, 8):
            raise ConfigError(f"'evaluation.tta_views' is {self.tta_views}; it must be 1 or 8.")


@dataclass(frozen=True, kw_only=True)
class PromotionSettings(Settings):
    """What a version must show before it becomes champion; ``conf/config.yaml`` explains each key.

    Raises
    ------
    ConfigError
        A value out of range.
    """

    section = "promotion"

    min_test_images: Annotated[int, at_least(1), CHANGEABLE]
    metric: Annotated[Literal["accuracy", "macro_f1"], CHANGEABLE]
    interval: Annotated[float, CHANGEABLE]
    resamples: Annotated[int, CHANGEABLE]
    max_recall_loss: Annotated[float, CHANGEABLE]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.interval < 1:
            raise ConfigError(f"'promotion.interval' is {self.interval}; it must be between 0 and 1, such as 0.95.")
        if self.resamples < 1000:
            raise ConfigError(
                f"'promotion.resamples' is {self.resamples}; the ends of an interval need at least 1000 resamples."
            )
        if not 0 <= self.max_recall_loss <= 1:
            raise ConfigError(f"'promotion.max_recall_loss' is {self.max_recall_loss}; it must be from 0 to 1.")
