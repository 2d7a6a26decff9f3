"""How much a test says: the interval around each figure, and what answers without looking at the images would get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from astroclf.evaluation.bootstrap import resampled
from astroclf.evaluation.predictions import Predictions

LEVEL = 0.95  # of the intervals that stand beside a run's figures
RESAMPLES = 2000  # of the test images, for an interval that has no formula


class Interval(NamedTuple):
    """The values that a figure may have in truth."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


def share_interval(hits: int, images: int, level: float = LEVEL) -> Interval:
    """Compute the exact interval of a share, such as an accuracy (Clopper & Pearson 1934).

    It holds the true share in at least `level` of all tests, however few images they have; of none it says nothing.
    """
    tail = (1 - level) / 2
    low = float(special.betaincinv(hits, images - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, images - hits, 1 - tail)) if hits < images else 1.0
    return Interval(low, high)


def metric_interval(
    metric: str, predictions: Predictions, level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval:
    """Compute the interval of a metric: exact for ``accuracy``, by the stratified bootstrap for ``macro_f1``."""
    if metric == "accuracy":
        return share_interval(int(predictions.right.sum()), len(predictions), level)
    _, drawn = resampled(metric, predictions.truth, [predictions.predicted], len(predictions.classes), resamples)
    return percentile_interval(drawn[0], level)


def percentile_interval(drawn_R: np.ndarray, level: float) -> Interval:
    """Return the interval that holds the middle of what resamples gave (Efron & Tibshirani 1993, chapter 13)."""
    tail = (1 - level) / 2
    return Interval(*(float(bound) for bound in np.quantile(drawn_R, [tail, 1 - tail])))


@dataclass(frozen=True)
class Baselines:
    """What answers get that do not depend on the image.

    Attributes
    ----------
    chance : float
        Of guessing each class equally often: 1 / C, of C classes that have test images.
    majority : float
        Of always saying the most common class: its share of the test images.
    majority_class : str
    """

    chance: float
    majority: float
    majority_class: str

    def best(self, metric: str) -> tuple[float, str]:
        """Return the most that blind answers reach in a metric, and how they do.

        In accuracy nothing beats the most common class. The macro F1 of answers that say each class in the share q is
        the mean of 2pq / (p + q) over the classes, p being their shares of the test images; it is largest, 1 / C, where
        each class is said as often as it occurs.
        """
        if metric == "accuracy":
            return self.majority, f"always saying {self.majority_class}"
        return self.chance, "guessing each class as often as it occurs"


def baselines(predictions: Predictions) -> Baselines:
    """Return the baselines of the images that were predicted."""
    images_C = predictions.confusion.sum(axis=1)
    most = int(images_C.argmax())
    return Baselines(
        chance=1 / int((images_C > 0).sum()),
        majority=float(images_C[most] / images_C.sum()),
        majority_class=predictions.classes[most],
    )


def intervals_and_baselines(predictions: Predictions) -> dict[str, float]:
    """Compute what stands beside the headline figures: ``accuracy_low`` and ``_high``, ``chance_accuracy``, ….

    The names are those of ``metrics.json`` after ``test/``.
    """
    blind = baselines(predictions)
    figures = {"chance_accuracy": blind.chance, "majority_accuracy": blind.majority}
    for metric in ("accuracy", "macro_f1"):
        figures[f"{metric}_low"], figures[f"{metric}_high"] = metric_interval(metric, predictions)
    return figures
