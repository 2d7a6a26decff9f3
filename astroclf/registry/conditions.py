"""The conditions of the promotion gate, one by one: what each asks, and what was found in words and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from astroclf.evaluation.compare import Difference, RecallLoss
from astroclf.evaluation.intervals import baselines, metric_interval
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.predictions import Predictions
from astroclf.settings.evaluation import PromotionSettings

CONDITIONS = {
    "reproduced": "repeats its predictions",
    "enough": "enough test images",
    "guessing": "better than guessing",
    "same_test": "same test images",
    "better": "better than the champion",
    "recall": "no class pays for it",
}
OUTCOMES = {True: "passed", False: "failed", None: "not checked"}


@dataclass(frozen=True)
class Condition:
    """One condition of the gate, and whether a version meets it.

    Attributes
    ----------
    name
        One of `CONDITIONS`.
    passed
        None where it was not checked.
    said
        What was found, in words, with its figures.
    """

    name: str
    passed: bool | None
    said: str

    @property
    def title(self) -> str:
        """The condition in words."""
        return CONDITIONS[self.name]

    @property
    def outcome(self) -> str:
        """The word for `passed`."""
        return OUTCOMES[self.passed]


def enough_images(predictions: Predictions, policy: PromotionSettings) -> Condition:
    """Ask for so many test images that an accuracy means something."""
    images, asked = len(predictions), policy.min_test_images
    if images >= asked:
        return Condition("enough", True, f"{images} test images, {asked} asked for")
    return Condition("enough", False, f"it was tested on {images} images, and promotion.min_test_images is {asked}")


def better_than_guessing(predictions: Predictions, policy: PromotionSettings) -> Condition:
    """Ask for a metric whose interval lies above the most that answers without a look at the image can get."""
    label = METRICS[policy.metric].label
    interval = metric_interval(policy.metric, predictions, policy.interval, policy.resamples)
    value = predictions.metrics()[policy.metric]
    blind, how = baselines(predictions).best(policy.metric)
    said = f"{label} {value:.3f} {interval}"
    if interval.low > blind:
        return Condition("guessing", True, f"{said}, where {how} gets {blind:.3f}")
    level = f"{100 * policy.interval:g} %"
    return Condition("guessing", False, f"{said}: the {level} interval is not above the {blind:.3f} of {how}")


def better_than(rival: int, found: Difference) -> Condition:
    """Ask for a difference to the version to beat whose interval lies above 0."""
    said = (
        f"{METRICS[found.metric].label} {_points(found.difference)} points "
        f"[{_points(found.low)}, {_points(found.high)}] against version {rival}"
    )
    if found.low > 0:
        return Condition("better", True, said)
    return Condition("better", False, f"{said}, and the {100 * found.interval:g} % interval is not above 0")


def no_class_pays(losses: Sequence[RecallLoss], allowed: float) -> Condition:
    """Ask that no class loses more recall than allowed, as far as its images can tell a loss from chance.

    A class of 4 images that loses one, a quarter of its recall, says nothing; a class of 200 that loses 30 does.
    """
    limit = f"{100 * allowed:g} allowed"
    above = sorted((loss for loss in losses if loss.loss > allowed + 1e-9), key=lambda loss: -loss.loss)
    if paying := [loss for loss in above if loss.certain]:
        return Condition("recall", False, f"recall lost, in points: {_listed(paying)} ({limit})")
    if above:
        said = f"too few images to tell from chance: recall lost, in points: {_listed(above)} ({limit})"
        return Condition("recall", True, said)
    worst = max(losses, key=lambda loss: loss.loss)
    if worst.loss <= 0:
        return Condition("recall", True, "no class loses recall")
    return Condition("recall", True, f"most recall lost: {100 * worst.loss:.1f} points of {worst.name} ({limit})")


def _listed(losses: Sequence[RecallLoss]) -> str:
    return ", ".join(
        f"{loss.name} {100 * loss.loss:.1f} [{_points(loss.interval.low)}, {_points(loss.interval.high)}] "
        f"of {loss.images} images"
        for loss in losses
    )


def _points(share: float) -> str:
    return f"{100 * share:+z.1f}"
