"""Probabilities that mean what they say: of the images that are told with 0.8, four in five are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special

from astroclf.errors import ConfigError
from astroclf.evaluation.bootstrap import resampled_mean
from astroclf.evaluation.intervals import LEVEL, RESAMPLES, Interval, percentile_interval
from astroclf.evaluation.metrics import SMALLEST, negative_log_likelihood

Method = Literal["temperature", "vector"]

SHARPEST, FLATTEST = 0.05, 20.0  # temperatures; a network that needs more than these does not tell classes apart
LARGEST_BIAS = 20.0  # of vector scaling, nats
SPREAD_OF_SCALES, SPREAD_OF_BIASES = 0.3, 0.5  # of classes, as vector scaling expects them before it sees any image
FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What turns the probabilities of a network into calibrated ones: softmax(log p / temperature + bias).

    It needs nothing of the network but its probabilities, so that it serves a mean over views or over several networks,
    too: the logits of one network differ from its log-probabilities by a number that the softmax takes out.

    Attributes
    ----------
    temperature : sequence of float
        One for all classes: temperature scaling (Guo et al. 2017, arXiv:1706.04599), which changes no label. One for
        each class: vector scaling (section 4.2 there).
    bias : sequence of float
        Of vector scaling, one for each class, nats.

    Raises
    ------
    ConfigError
        A temperature or bias that no fit gives.
    """

    temperature: Sequence[float]
    bias: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.temperature or not all(SHARPEST <= value <= FLATTEST for value in self.temperature):
            raise ConfigError(f"'temperature' must be numbers from {SHARPEST:g} to {FLATTEST:g}")
        if not all(abs(value) <= LARGEST_BIAS for value in self.bias):
            raise ConfigError(f"'bias' must be numbers from {-LARGEST_BIAS:g} to {LARGEST_BIAS:g}")

    def misfit(self, classes: int) -> str:
        """Find the numbers that are for more or fewer classes than a model has; nothing where all fit."""
        for name, allowed in (("temperature", (1, classes)), ("bias", (0, classes))):
            if len(getattr(self, name)) not in allowed:
                return f"{name}' has {len(getattr(self, name))} numbers, and the model {classes} classes"
        return ""

    def __call__(self, probabilities_NC: np.ndarray) -> np.ndarray:
        """Return the calibrated probabilities, (N, C) float64."""
        scores_NC = log_probabilities(probabilities_NC) / np.asarray(self.temperature, np.float64)
        return special.softmax(scores_NC + np.asarray(self.bias or 0.0, np.float64), axis=1)


def log_probabilities(probabilities_NC: np.ndarray) -> np.ndarray:
    """Return the logarithms in float64; a probability of 0 becomes the least that float32 holds."""
    return np.log(np.maximum(probabilities_NC.astype(np.float64), SMALLEST))


def fit_temperature(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> Calibration:
    """Return the temperature with the least log loss of labelled images, exact to 1e-9 of its logarithm.

    The log loss is convex in 1 / T (its slope: `_slope`), so that one root of the slope is the minimum. Without a wrong
    answer the minimum lies at temperature 0; the sharpest that is allowed is taken.
    """
    scores_NC = log_probabilities(probabilities_NC)

    def slope(log_temperature: float) -> float:
        return _slope(scores_NC, labels_N, np.exp(-log_temperature))

    low, high = np.log(SHARPEST), np.log(FLATTEST)
    if slope(low) <= 0:
        return Calibration(temperature=[SHARPEST])
    if slope(high) >= 0:
        return Calibration(temperature=[FLATTEST])
    root = optimize.brentq(slope, low, high, xtol=1e-9)
    return Calibration(temperature=[float(np.clip(np.exp(root), SHARPEST, FLATTEST))])


def fit_vector(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> Calibration:
    """Return the temperature and bias of each class that are most probable after labelled images (convex in 1 / T).

    Beforehand, classes are expected to differ a little from what they have in common, by a normal distribution of 1 / T
    and of the bias: twenty numbers that have the least log loss of a hundred images say too much of new ones. Of a few
    thousand images, the log loss decides alone.
    """
    scores_NC, classes = log_probabilities(probabilities_NC), probabilities_NC.shape[1]
    truth_NC = np.eye(classes)[labels_N]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        scales_C, biases_C = parameters[:classes], parameters[classes:]
        scaled_NC = scores_NC * scales_C + biases_C
        error_NC = special.softmax(scaled_NC, axis=1) - truth_NC
        apart_C = (scales_C - scales_C.mean()) / SPREAD_OF_SCALES**2
        away_C = biases_C / SPREAD_OF_BIASES**2
        value = (special.logsumexp(scaled_NC, axis=1) - (scaled_NC * truth_NC).sum(axis=1)).sum()
        value += ((scales_C - scales_C.mean()) @ apart_C + biases_C @ away_C) / 2
        slope = [(error_NC * scores_NC).sum(axis=0) + apart_C, error_NC.sum(axis=0) + away_C]
        return float(value) / len(labels_N), np.concatenate(slope) / len(labels_N)

    bounds = [(1 / FLATTEST, 1 / SHARPEST)] * classes + [(-LARGEST_BIAS, LARGEST_BIAS)] * classes
    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000})
    bias = found.x[classes:] - found.x[classes:].mean()  # the softmax takes a common number out
    temperature = np.clip(1 / found.x[:classes], SHARPEST, FLATTEST)
    return Calibration(
        temperature=[float(value) for value in temperature],
        bias=[float(value) for value in np.clip(bias, -LARGEST_BIAS, LARGEST_BIAS)],
    )


FITS: dict[Method, Callable[[np.ndarray, np.ndarray], Calibration]] = {
    "temperature": fit_temperature,
    "vector": fit_vector,
}


@dataclass(frozen=True)
class CalibrationFit:
    """A calibration fitted on labelled images, and what it brings.

    Attributes
    ----------
    calibration : Calibration
        Fitted on all images.
    out_of_fold_NC : (N, C) float64
        Calibrated probabilities of each image by a fit on the four fifths of the images without it.
    gain : float
        By how much these lower the log loss, nats.
    interval : Interval
        Of the gain.
    """

    calibration: Calibration
    out_of_fold_NC: np.ndarray
    gain: float
    interval: Interval

    @property
    def helps(self) -> bool:
        """Whether it lowers the log loss beyond doubt: the whole interval lies above 0."""
        return self.interval.low > 0


def fit_calibration(method: Method, probabilities_NC: np.ndarray, labels_N: np.ndarray) -> CalibrationFit:
    """Fit a calibration on labelled images, and measure its gain on images that each fit has not seen."""
    fit = FITS[method]
    out_of_fold_NC = np.empty(probabilities_NC.shape)
    for fold_N in folds(labels_N):
        others_N = ~fold_N
        out_of_fold_NC[fold_N] = fit(probabilities_NC[others_N], labels_N[others_N])(probabilities_NC[fold_N])
    gains_N = negative_log_likelihood(probabilities_NC, labels_N) - negative_log_likelihood(out_of_fold_NC, labels_N)
    interval = percentile_interval(resampled_mean(gains_N, RESAMPLES), LEVEL)
    return CalibrationFit(fit(probabilities_NC, labels_N), out_of_fold_NC, float(gains_N.mean()), interval)


def folds(labels_N: np.ndarray) -> list[np.ndarray]:
    """Return five parts of N images as masks, (N,) bool each, each class spread evenly over them."""
    order = np.random.default_rng(0).permutation(len(labels_N))
    order = order[np.argsort(labels_N[order], kind="stable")]
    place_N = np.empty(len(labels_N), int)
    place_N[order] = np.arange(len(labels_N)) % FOLDS
    return [place_N == fold for fold in range(FOLDS)]


def _slope(scores_NC: np.ndarray, labels_N: np.ndarray, inverse: float) -> float:
    """Return the derivative of the mean log loss by 1 / T: the mean score expected, less that of the truth."""
    expected_N = (special.softmax(scores_NC * inverse, axis=1) * scores_NC).sum(axis=1)
    return float((expected_N - np.take_along_axis(scores_NC, labels_N[:, None], axis=1)[:, 0]).mean())
