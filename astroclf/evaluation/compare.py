"""Two models on the same test images: by how much one is better, and whether that may be chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import special

from astroclf.errors import DataError
from astroclf.evaluation.bootstrap import resampled
from astroclf.evaluation.intervals import LEVEL, Interval, percentile_interval, share_interval
from astroclf.evaluation.predictions import Predictions


def on_the_same_images(one: Predictions, other: Predictions) -> tuple[Predictions, Predictions]:
    """Sort both by id, once it is certain that they answer the same question.

    Raises
    ------
    DataError
        No labels, other classes, other images, or another label for an image; the message names the first difference.
    """
    if one.labels is None or other.labels is None:
        raise DataError("There are no labels to compare the predictions with.")
    if one.classes != other.classes:
        differing = sorted(set(one.classes) ^ set(other.classes)) or ["their order"]
        raise DataError(f"The two know different classes ({', '.join(differing)}).")
    one, other = (predictions.take(np.argsort(predictions.ids, kind="stable")) for predictions in (one, other))
    if one.ids.tolist() != other.ids.tolist():
        alone = sorted(set(one.ids.tolist()) ^ set(other.ids.tolist()))
        raise DataError(
            f"The two were tested on different images: {len(alone)} in only one of them, such as {alone[0]}."
        )
    relabelled = np.flatnonzero(one.truth != other.truth)
    if len(relabelled):
        first = relabelled[0]
        names = one.classes[one.truth[first]], one.classes[other.truth[first]]
        raise DataError(
            f"{len(relabelled)} of the test images have another label now, such as {one.ids[first]}: "
            f"{names[0]} in one test, {names[1]} in the other."
        )
    return one, other


@dataclass(frozen=True)
class Difference:
    """By how much a challenger is better than a champion.

    Attributes
    ----------
    metric : str
        ``accuracy`` or ``macro_f1``.
    champion, challenger, difference : float
        The metric of each, and challenger minus champion.
    low, high : float
        Bounds of the interval of the difference.
    interval : float
        Share of the resamples inside the bounds.
    share_above : float
        Share of the resamples whose difference is above 0.
    only_challenger, only_champion : int
        Images that only this one got right (the discordant pairs).
    images : int
    """

    metric: str
    champion: float
    challenger: float
    difference: float
    low: float
    high: float
    interval: float
    share_above: float
    only_challenger: int
    only_champion: int
    images: int

    @property
    def p_value(self) -> float:
        """That of McNemar's exact test on the images that only one of the two got right."""
        return mcnemar(self.only_challenger, self.only_champion)


def paired_bootstrap(
    champion: Predictions,
    challenger: Predictions,
    *,
    metric: str = "accuracy",
    interval: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Compute the difference of a metric with its bootstrap percentile interval.

    Both models are measured on the same resamples (paired, Koehn 2004, "Statistical significance tests for machine
    translation evaluation"; see `resampled`). The interval holds the middle of the resamples' differences (percentile
    interval, Efron & Tibshirani 1993, chapter 13). It speaks of other test images of the same kind, not of other
    trainings; near-duplicates among the images make it too narrow.

    Parameters
    ----------
    champion, challenger
        From `on_the_same_images`: the same images in the same order.
    metric
        ``accuracy``, or ``macro_f1`` as in `classification_metrics`.
    """
    truth, answers = champion.truth, [champion.predicted, challenger.predicted]
    observed, drawn = resampled(metric, truth, answers, len(champion.classes), resamples, seed)
    differences = drawn[1] - drawn[0]
    differences[np.abs(differences) < 1e-12] = 0  # sums of the same ratios in another order
    low, high = percentile_interval(differences, interval)
    return Difference(
        metric=metric,
        champion=observed[0],
        challenger=observed[1],
        difference=observed[1] - observed[0],
        low=low,
        high=high,
        interval=interval,
        share_above=float((differences > 0).mean()),
        only_challenger=int((challenger.right & ~champion.right).sum()),
        only_champion=int((champion.right & ~challenger.right).sum()),
        images=len(truth),
    )


def mcnemar(only_one: int, only_other: int) -> float:
    """Compute the p-value of McNemar's exact test: could two models be right equally often?

    Under that hypothesis an image that only one of the two got right is either's with probability 1/2 (McNemar 1947;
    two-sided binomial test).

    Parameters
    ----------
    only_one, only_other
        Images that only this one got right.
    """
    discordant = only_one + only_other
    if not discordant:
        return 1.0
    return float(min(1.0, 2 * special.bdtr(min(only_one, only_other), discordant, 0.5)))


@dataclass(frozen=True)
class Comparison:
    """A model beside another one on the same images.

    Attributes
    ----------
    name : str
        Of the other model.
    differences : list of Difference
        Of accuracy and macro F1; the other model is the champion in them.
    recall : list of RecallLoss
        What each class loses from the other model to this one.
    """

    name: str
    differences: list[Difference]
    recall: list[RecallLoss]

    @property
    def accuracy(self) -> Difference:
        """The difference of the accuracies."""
        return self.differences[0]

    @property
    def verdict(self) -> str:
        """Which of the two is better, in words; on accuracy, beyond doubt or not."""
        found = self.accuracy
        if found.low > 0 or found.high < 0:
            return f"{'better' if found.low > 0 else 'worse'} than {self.name} beyond doubt"
        return f"not told apart from {self.name}"

    def metrics(self) -> dict[str, float]:
        """Return its figures by name."""
        figures: dict[str, float] = {"images": self.accuracy.images, "mcnemar_p": self.accuracy.p_value}
        for found in self.differences:
            figures |= {
                f"{found.metric}_of_the_other": found.champion,
                f"{found.metric}_difference": found.difference,
                f"{found.metric}_difference_low": found.low,
                f"{found.metric}_difference_high": found.high,
            }
        return figures


def compare_with(name: str, other: Predictions, ours: Predictions) -> Comparison:
    """Compare a model with another by paired bootstrap and by class.

    Raises
    ------
    DataError
        See `on_the_same_images`.
    """
    other, ours = on_the_same_images(other, ours)
    differences = [paired_bootstrap(other, ours, metric=metric) for metric in ("accuracy", "macro_f1")]
    return Comparison(name, differences, recall_losses(other, ours))


@dataclass(frozen=True)
class RecallLoss:
    """How much recall one class loses from champion to challenger.

    Attributes
    ----------
    name : str
        Of the class.
    images : int
        That belong to the class.
    lost, won : int
        Of these, those that only the champion and only the challenger got right.
    interval : Interval
        Of the loss, where as many images change sides as did.
    """

    name: str
    images: int
    lost: int
    won: int
    interval: Interval

    @classmethod
    def of(cls, name: str, images: int, lost: int, won: int, level: float = LEVEL) -> Self:
        """Return the loss with its exact interval.

        Only images that one of the two got right tell them apart. The exact interval of the share of these that were
        lost is that of a binomial share, and the loss follows from it; it lies above 0 just where the exact McNemar
        test (the sign test) tells the two recalls apart.
        """
        bounds = share_interval(lost, lost + won, level)
        return cls(name, images, lost, won, Interval(*((2 * bound - 1) * (lost + won) / images for bound in bounds)))

    @property
    def loss(self) -> float:
        """The loss as a share of the class's images; negative where recall was won."""
        return (self.lost - self.won) / self.images

    @property
    def certain(self) -> bool:
        """Whether it is more than chance that recall was lost at all."""
        return self.interval.low > 0


def recall_losses(champion: Predictions, challenger: Predictions, interval: float = LEVEL) -> list[RecallLoss]:
    """Compute how much recall each class that has test images loses, with its exact interval (see `RecallLoss.of`).

    Parameters
    ----------
    champion, challenger
        From `on_the_same_images`.
    interval
        Level of each interval. The classes are not corrected for one another.
    """
    losses = []
    for label, name in enumerate(champion.classes):
        mine = champion.truth == label
        if mine.any():
            lost = int((champion.right & ~challenger.right & mine).sum())
            won = int((challenger.right & ~champion.right & mine).sum())
            losses.append(RecallLoss.of(name, int(mine.sum()), lost, won, interval))
    return losses
