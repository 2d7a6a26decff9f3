"""Prediction sets: the classes that an image may have, so that the true one is among them as often as was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from astroclf.errors import ConfigError
from astroclf.evaluation.predictions import Predictions

CLASS_MISSES = 5  # a class has a rule of its own where so many of its validation images may be missed


@dataclass(frozen=True, kw_only=True)
class Conformal:
    """The rule by which classes come into a prediction set.

    A class is in the set of an image if its strangeness there (see `strangeness`) is at most the class's threshold, and
    its rank at most the class's limit. A set can be empty: even the label is told with less than in nearly all images
    of that class. Else classes that the network tells too well would be covered more often than was asked for.

    Attributes
    ----------
    coverage : float
        Share of the images of each class whose set shall have the true class.
    thresholds : sequence of float
        Of each class, -1 to 1.
    ranks : sequence of int
        Of each class, 1 to the number of classes.

    Raises
    ------
    ConfigError
        Numbers that no fit gives.
    """

    coverage: float
    thresholds: Sequence[float]
    ranks: Sequence[int]

    def __post_init__(self) -> None:
        if not 0 < self.coverage < 1:
            raise ConfigError("'coverage' must be between 0 and 1")
        if not all(-1 <= value <= 1 for value in self.thresholds):
            raise ConfigError("'thresholds' must be numbers from -1 to 1")
        if not all(1 <= rank <= len(self.ranks) for rank in self.ranks):
            raise ConfigError("'ranks' must be from 1 to the number of classes")

    def misfit(self, classes: int) -> str:
        """Find the numbers that are for more or fewer classes than a model has; nothing where all fit."""
        for name in ("thresholds", "ranks"):
            if len(getattr(self, name)) != classes:
                return f"{name}' has {len(getattr(self, name))} numbers, and the model {classes} classes"
        return ""

    def __call__(self, probabilities_NC: np.ndarray) -> np.ndarray:
        """Return the prediction sets, (N, C) bool, of calibrated probabilities."""
        strange = strangeness(probabilities_NC)
        return (strange.score_NC <= np.asarray(self.thresholds)) & (strange.rank_NC <= np.asarray(self.ranks))


class Strangeness(NamedTuple):
    """How strange an image would be as one of each class.

    Attributes
    ----------
    score_NC : (N, C) float64
        The nonconformity score, -1 to 1.
    rank_NC : (N, C) int
        1 for the most probable class.
    """

    score_NC: np.ndarray
    rank_NC: np.ndarray


def strangeness(probabilities_NC: np.ndarray) -> Strangeness:
    """Compute the nonconformity score of each class: the sum of the probabilities of all that are more probable.

    This is APS (Romano et al. 2020, arXiv:2006.02544) without the class's own probability, of which the paper takes a
    random share, so that a set may change from one call to the next. Of the most probable class, with nothing above it,
    the score is minus its probability: the surer, the less strange.
    """
    order = np.argsort(-probabilities_NC, axis=1, kind="stable")
    sorted_NC = np.take_along_axis(probabilities_NC.astype(np.float64), order, axis=1)
    before_NC = np.minimum(np.cumsum(sorted_NC, axis=1) - sorted_NC, 1.0)
    before_NC[:, 0] = -np.minimum(sorted_NC[:, 0], 1.0)
    score_NC, rank_NC = np.empty_like(before_NC), np.empty(order.shape, int)
    np.put_along_axis(score_NC, order, before_NC, axis=1)
    np.put_along_axis(rank_NC, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return Strangeness(score_NC, rank_NC)


def fit_conformal(probabilities_NC: np.ndarray, labels_N: np.ndarray, coverage: float) -> Conformal | None:
    """Fit the rule on labelled images that the probabilities were not fitted on.

    Of n images of a class, the rule must cover the smallest whole number of them that is at least coverage × (n + 1):
    then it covers the next image of the class with at least that probability (split conformal prediction, Vovk 2005),
    whatever the network. Of all pairs of a rank limit and a threshold that do so, the one with the smallest sets is
    taken: the limit cuts off what a threshold alone lets in (RC3P, arXiv:2406.06818; here both are counted together on
    the same images, where the paper adds their errors up).

    Classes with few images share one rule, that covers their images taken together (clustered conformal prediction,
    Ding et al. 2023, arXiv:2306.09335, with one cluster for all that are small).

    Returns
    -------
    Conformal or None
        None where there are too few images for any rule.
    """
    classes = probabilities_NC.shape[1]
    strange = strangeness(probabilities_NC)
    if _wanted(len(labels_N), coverage) > len(labels_N):
        return None
    thresholds, ranks = np.ones(classes), np.full(classes, classes)
    for group in _groups(labels_N, classes, coverage):
        thresholds[group], ranks[group] = _rule(strange, labels_N, group, coverage)
    return Conformal(
        coverage=coverage, thresholds=[float(value) for value in thresholds], ranks=[int(rank) for rank in ranks]
    )


def _wanted(images: int, coverage: float) -> int:
    """Return how many of n images must be covered, so that the next one is with the probability `coverage`."""
    return math.ceil((images + 1) * coverage - 1e-9)


def _groups(labels_N: np.ndarray, classes: int, coverage: float) -> list[list[int]]:
    """Return the classes that have a rule together; most have one alone."""
    images_C = np.bincount(labels_N, minlength=classes)
    few = [int(label) for label in np.flatnonzero(images_C < CLASS_MISSES / (1 - coverage))]
    alone = [[label] for label in range(classes) if label not in few]
    return [*alone, few] if few else alone


def _rule(strange: Strangeness, labels_N: np.ndarray, group: list[int], coverage: float) -> tuple[float, int]:
    """Return threshold and rank limit of a group of classes: of those that cover enough, those with the smallest sets.

    A group with too few images even together is judged by the images of all classes.
    """
    members = np.flatnonzero(np.isin(labels_N, group))
    if _wanted(len(members), coverage) > len(members):
        members = np.arange(len(labels_N))
    wanted = _wanted(len(members), coverage)
    score_N, rank_N = strange.score_NC[members, labels_N[members]], strange.rank_NC[members, labels_N[members]]
    group_score, group_rank = strange.score_NC[:, group], strange.rank_NC[:, group]
    best, found = math.inf, (1.0, strange.rank_NC.shape[1])
    for rank in range(1, strange.rank_NC.shape[1] + 1):
        reached = np.sort(score_N[rank_N <= rank])
        if len(reached) < wanted:
            continue
        threshold = float(reached[wanted - 1])
        size = ((group_score <= threshold) & (group_rank <= rank)).sum()
        if size < best:
            best, found = size, (threshold, rank)
    return found


def set_metrics(predictions: Predictions) -> dict[str, float]:
    """Compute how often the sets have the true class, ``coverage`` and ``<class>/coverage``, and their ``set_size``.

    Without sets there are no figures.
    """
    if predictions.sets is None:
        return {}
    covered_N = predictions.sets[np.arange(len(predictions)), predictions.truth]
    figures = {"coverage": float(covered_N.mean()), "set_size": float(predictions.sets.sum(axis=1).mean())}
    for label, name in enumerate(predictions.classes):
        if (members := predictions.truth == label).any():
            figures[f"{name}/coverage"] = float(covered_N[members].mean())
    return figures
