"""The confidence score: which number tells best whether a label is right, as a probability that it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from astroclf.errors import ConfigError
from astroclf.evaluation.calibration import Calibration, fit_calibration, folds, log_probabilities
from astroclf.evaluation.intervals import LEVEL, Interval, percentile_interval
from astroclf.evaluation.metrics import SMALLEST
from astroclf.evaluation.selective import aurc, resampled_aurc

NORMS = range(1, 11)
STEEPEST = 1e6  # of the logistic function
RESAMPLES = 1000  # of the images, for the interval of the gain


@dataclass(frozen=True, kw_only=True)
class ScaledConfidence:
    """How sure a label is by a scaling of each class of its own, where the label is that of one temperature for all.

    A network may be too sure of one class and not sure enough of another; vector scaling (see `Calibration`) sees both.
    It is read for the label alone, so that labels and probabilities stay.

    Raises
    ------
    ConfigError
        Numbers that no fit gives.
    """

    temperature: Sequence[float]
    bias: Sequence[float]

    def __post_init__(self) -> None:
        _ = self.scaling

    @property
    def scaling(self) -> Calibration:
        """The scaling of each class."""
        return Calibration(temperature=self.temperature, bias=self.bias)

    def misfit(self, classes: int) -> str:
        """Find the numbers that are for more or fewer classes than a model has; nothing where all fit."""
        return self.scaling.misfit(classes)

    def __call__(self, probabilities_NC: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
        """Return the probability that each label is right, (N,) float64, of the network's own probabilities."""
        return _of_label(self.scaling(probabilities_NC), predicted_N)


@dataclass(frozen=True, kw_only=True)
class NormConfidence:
    """How sure a label is by the largest logit over a norm of all logits: MaxLogit-pNorm, as a probability.

    A network that was trained with label smoothing is as sure as it was told to be, of easy and of odd images alike.
    Its highest probability hardly tells them apart, but the logits behind it do (Cattelan & Silva 2024,
    arXiv:2305.15508; Xia et al. 2024, arXiv:2403.14715). A temperature does not change the score, and log-probabilities
    serve for logits, for both are centred first.

    Attributes
    ----------
    norm : int
        The p of the norm.
    slope, intercept : float
        Of the logistic function that turns the score into the probability that the label is right (Platt 1999).

    Raises
    ------
    ConfigError
        Numbers that no fit gives.
    """

    norm: int
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ConfigError(f"'norm' must be from {NORMS[0]} to {NORMS[-1]}")
        if not 0 < self.slope <= STEEPEST or not abs(self.intercept) <= STEEPEST:
            raise ConfigError(f"'slope' must be above 0, and neither it nor 'intercept' beyond {STEEPEST:g}")

    def misfit(self, classes: int) -> str:
        """Find nothing: the score is of any number of classes."""
        return ""

    def __call__(self, probabilities_NC: np.ndarray, predicted_N: np.ndarray) -> np.ndarray:
        """Return the probability that each label is right, (N,) float64, of the network's own probabilities."""
        score_N = normalised_logit(probabilities_NC, predicted_N, self.norm)
        return special.expit(self.slope * score_N + self.intercept)


Confidence = NormConfidence | ScaledConfidence


def normalised_logit(probabilities_NC: np.ndarray, predicted_N: np.ndarray, norm: int) -> np.ndarray:
    """Return the centred logit of each image's label over the p-norm of all its centred logits, (N,) float64."""
    logits_NC = log_probabilities(probabilities_NC)
    logits_NC -= logits_NC.mean(axis=1, keepdims=True)
    of_label_N = _of_label(logits_NC, predicted_N)
    length_N = np.linalg.norm(logits_NC, ord=norm, axis=1)
    return np.divide(of_label_N, length_N, out=np.zeros_like(of_label_N), where=length_N > 0)


@dataclass(frozen=True)
class ConfidenceFit:
    """A confidence score fitted on labelled images, and what it brings beside the highest calibrated probability.

    Attributes
    ----------
    confidence : NormConfidence or ScaledConfidence
    gain : float
        By how much it lowers the area under the risk–coverage curve.
    interval : Interval
        Of the gain.
    log_loss_gain : float
        By how much it is the better probability that a label is right: what its log loss is lower by, nats.
    """

    confidence: Confidence
    gain: float
    interval: Interval
    log_loss_gain: float

    @property
    def helps(self) -> bool:
        """Whether it lowers the area beyond doubt, its whole interval above 0, and is a better probability as well."""
        return self.interval.low > 0 and self.log_loss_gain > 0


def fit_confidence(
    probabilities_NC: np.ndarray, calibrated_NC: np.ndarray, labels_N: np.ndarray
) -> ConfidenceFit | None:
    """Choose the confidence with the least area under the risk–coverage curve of labelled images.

    Both kinds are judged, as a calibration is, on images that their fit has not seen, and by what they are as a
    probability, too: among a hundred images are few wrong answers, and some score always happens to put these last.

    Parameters
    ----------
    probabilities_NC, calibrated_NC
        The network's own, and the calibrated ones.

    Returns
    -------
    ConfidenceFit or None
        None where all labels are right, or all are wrong: nothing can be learned from them.
    """
    predicted_N, highest_N = calibrated_NC.argmax(axis=1), calibrated_NC.max(axis=1)
    right_N = predicted_N == labels_N
    if right_N.all() or not right_N.any():
        return None
    scaling = fit_calibration("vector", probabilities_NC, labels_N)
    whole = ScaledConfidence(temperature=scaling.calibration.temperature, bias=scaling.calibration.bias)
    candidates: list[tuple[Confidence, np.ndarray]] = [(whole, _of_label(scaling.out_of_fold_NC, predicted_N))]
    if (normed := _fit_norm(probabilities_NC, predicted_N, right_N)) is not None:
        told_N = _norm_out_of_fold(probabilities_NC, predicted_N, right_N, labels_N)
        if np.isfinite(told_N).all():
            candidates.append((normed, told_N))
    of_highest = _log_loss(highest_N, right_N)
    better = [each for each in candidates if _log_loss(each[1], right_N) < of_highest]
    chosen = min(better or candidates, key=lambda each: aurc(each[1], right_N))
    highest_R, chosen_R = resampled_aurc([highest_N, chosen[1]], right_N, RESAMPLES)
    gain = aurc(highest_N, right_N) - aurc(chosen[1], right_N)
    interval = percentile_interval(highest_R - chosen_R, LEVEL)
    return ConfidenceFit(chosen[0], gain, interval, of_highest - _log_loss(chosen[1], right_N))


def _fit_norm(probabilities_NC: np.ndarray, predicted_N: np.ndarray, right_N: np.ndarray) -> NormConfidence | None:
    """Choose the norm with the least area; None where a higher score does not mean that more labels are right."""
    scores = {norm: normalised_logit(probabilities_NC, predicted_N, norm) for norm in NORMS}
    norm = min(scores, key=lambda each: aurc(scores[each], right_N))
    slope, intercept = _logistic(scores[norm], right_N)
    sound = 0 < slope <= STEEPEST and abs(intercept) <= STEEPEST
    return NormConfidence(norm=norm, slope=slope, intercept=intercept) if sound else None


def _norm_out_of_fold(
    probabilities_NC: np.ndarray, predicted_N: np.ndarray, right_N: np.ndarray, labels_N: np.ndarray
) -> np.ndarray:
    """Return how sure each label is by a score over a norm that was chosen without its image; nan where none can be."""
    told_N = np.full(len(right_N), np.nan)
    for fold_N in folds(labels_N):
        others_N = ~fold_N
        fit = _fit_norm(probabilities_NC[others_N], predicted_N[others_N], right_N[others_N])
        if fit is not None:
            told_N[fold_N] = fit(probabilities_NC[fold_N], predicted_N[fold_N])
    return told_N


def _log_loss(told_N: np.ndarray, right_N: np.ndarray) -> float:
    return float(-np.log(np.maximum(np.where(right_N, told_N, 1 - told_N), SMALLEST)).mean())


def _of_label(values_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    return np.take_along_axis(values_NC, labels_N[:, None], axis=1)[:, 0]


def _logistic(score_N: np.ndarray, right_N: np.ndarray) -> tuple[float, float]:
    """Return slope and intercept of the logistic function with the least log loss, with Platt's targets.

    Those count one right and one wrong answer more than there were, so that scores which separate them have an optimum.
    """
    hits, misses = int(right_N.sum()), int((~right_N).sum())
    target_N = np.where(right_N, (hits + 1) / (hits + 2), 1 / (misses + 2))
    centre, spread = score_N.mean(), score_N.std() or 1.0
    scaled_N = (score_N - centre) / spread

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        told_N = parameters[0] * scaled_N + parameters[1]
        error_N = special.expit(told_N) - target_N
        value = (np.logaddexp(0, told_N) - target_N * told_N).mean()
        return float(value), np.array([(error_N * scaled_N).mean(), error_N.mean()])

    slope, shift = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    return float(slope / spread), float(shift - slope * centre / spread)
