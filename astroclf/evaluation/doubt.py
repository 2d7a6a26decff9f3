"""Which measure of doubt tells wrong answers from right ones best: a head that does not earn its place shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from astroclf.evaluation.confidence import normalised_logit
from astroclf.evaluation.intervals import LEVEL, Interval
from astroclf.evaluation.predictions import Predictions

UNCERTAINTY, MAX_PROBABILITY, ENTROPY = "uncertainty", "1 - highest probability", "entropy"
NORM = 4  # one chosen on the images that it is judged on would seem better than it is
P_NORM = f"- logit over {NORM}-norm"  # MaxLogit-pNorm, arXiv:2305.15508
BASELINE = MAX_PROBABILITY  # costs nothing: a measure that is not better does not earn its place
FEWEST = 6  # wrong answers, or right ones: of five, even all five on one side are chance by the sign test (p = 0.06)


@dataclass(frozen=True)
class DoubtScore:
    """How well a measure of doubt finds the wrong answers.

    Attributes
    ----------
    name : str
    auroc : float
        Probability that a wrong answer has more doubt than a right one; 0.5 is blind.
    interval : Interval
        Of `auroc`.
    gain, gain_interval
        By how much it is better than `BASELINE`, paired on the same images; 0 of the baseline itself.
    """

    name: str
    auroc: float
    interval: Interval
    gain: float
    gain_interval: Interval

    @property
    def verdict(self) -> str:
        """What that means, in words."""
        if self.name == BASELINE:
            return "costs nothing"
        if self.gain_interval.low > 0:
            return "better"
        return "worse" if self.gain_interval.high < 0 else "no better beyond doubt"


def doubt_measures(predictions: Predictions) -> dict[str, np.ndarray]:
    """Return the measures of doubt of each image, (N,) float each: the higher, the more likely the answer is wrong.

    A measure that is the highest probability under another name is left out: an uncertainty without a head of its own,
    and of two classes all that is computed from the probabilities.
    """
    probabilities = predictions.probabilities.astype(np.float64)
    measures = {MAX_PROBABILITY: 1 - probabilities.max(axis=1)}
    uncertainty = predictions.uncertainty.astype(np.float64)
    if not np.allclose(uncertainty, measures[MAX_PROBABILITY], rtol=0, atol=1e-6):
        measures = {UNCERTAINTY: uncertainty, **measures}
    if probabilities.shape[1] > 2:
        measures[ENTROPY] = special.entr(probabilities).sum(axis=1)
        measures[P_NORM] = -normalised_logit(probabilities, predictions.predicted, NORM)
    if predictions.scores is not None:
        measures["1 - confidence score"] = 1 - predictions.scores.astype(np.float64)
    return measures


def doubt_scores(measures: Mapping[str, np.ndarray], wrong_N: np.ndarray, level: float = LEVEL) -> list[DoubtScore]:
    """Compute the AUROC of "is wrong" for each measure, and what each gains over the highest probability.

    Intervals have the variances and covariances of DeLong et al. (1988, Biometrics 44, 837), computed by ranks (Sun &
    Xu 2014, IEEE Signal Processing Letters 21, 1389), and are those of Student's t, with degrees of freedom by Welch
    (1947, Biometrika 34, 28): few wrong answers say little of their own spread. None where fewer than `FEWEST` are
    wrong, or right.

    Parameters
    ----------
    measures
        From `doubt_measures`.
    wrong_N : (N,) bool
    """
    if min(wrong_N.sum(), (~wrong_N).sum()) < FEWEST:
        return []
    placed = {name: _placements(values, wrong_N) for name, values in measures.items()}
    base_wrong, base_right = placed[BASELINE]
    scores = []
    for name, (of_wrong, of_right) in placed.items():
        auroc, interval = auroc_interval(measures[name], wrong_N, level)
        gain = auroc - float(base_wrong.mean())
        gain_margin = _margin(of_wrong - base_wrong, of_right - base_right, level)
        scores.append(DoubtScore(name, auroc, interval, gain, Interval(gain - gain_margin, gain + gain_margin)))
    return scores


def auroc_interval(values_N: np.ndarray, positive_N: np.ndarray, level: float = LEVEL) -> tuple[float, Interval]:
    """Compute how well values tell positives, (N,) bool, from the rest: the AUROC, with the interval of `doubt_scores`.

    There must be two of either.
    """
    of_positive, of_rest = _placements(values_N, positive_N)
    auroc, margin = float(of_positive.mean()), _margin(of_positive, of_rest, level)
    return auroc, Interval(max(0.0, auroc - margin), min(1.0, auroc + margin))


def _placements(values_N: np.ndarray, wrong_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each wrong answer the share of right ones below it, and for each right one that of wrong ones above.

    Ties count half. The mean of either is the AUROC.
    """
    wrong, right = values_N[wrong_N], values_N[~wrong_N]
    ranks = stats.rankdata(np.concatenate([wrong, right]))
    below = ranks[: len(wrong)] - stats.rankdata(wrong)
    above = len(wrong) - (ranks[len(wrong) :] - stats.rankdata(right))
    return below / len(right), above / len(wrong)


def _margin(of_wrong: np.ndarray, of_right: np.ndarray, level: float) -> float:
    """Return how far an interval reaches, of an AUROC or of a difference of two, from its placements."""
    variances = np.array([values.var(ddof=1) / len(values) for values in (of_wrong, of_right)])
    total = variances.sum()
    if total == 0:
        return 0.0
    freedom = total**2 / (variances**2 / [len(of_wrong) - 1, len(of_right) - 1]).sum()
    return float(stats.t.ppf(0.5 + level / 2, freedom) * math.sqrt(total))
