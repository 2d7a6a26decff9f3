"""The figures by which a classification is judged: their names, their direction, and how they are computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from torch import Tensor
else:
    np = lazy_import("numpy")  # a config is checked against the names alone


@dataclass(frozen=True)
class Metric:
    """A figure by which one model is better than another.

    Attributes
    ----------
    name : str
        In ``metrics.json``, ``history.csv`` and MLflow, there after ``val/`` or ``test/``.
    label : str
        For people.
    higher_is_better : bool
    """

    name: str
    label: str
    higher_is_better: bool

    def merit(self, value: float) -> float:
        """Return the value with the sign that makes the better one the larger one."""
        return value if self.higher_is_better else -value


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", higher_is_better=True),
        Metric("macro_f1", "macro F1", higher_is_better=True),
        Metric("macro_precision", "macro precision", higher_is_better=True),
        Metric("macro_recall", "macro recall", higher_is_better=True),
        Metric("loss", "loss", higher_is_better=False),
        Metric("log_loss", "log loss", higher_is_better=False),
        Metric("brier", "Brier score", higher_is_better=False),
        Metric("ece", "calibration error (ECE)", higher_is_better=False),
        Metric("ece_equal_mass", "calibration error, equal-mass bins", higher_is_better=False),
    )
}
MONITORS = tuple(f"val/{name}" for name in METRICS)  # what the key `monitor` can be, and a sweep's objectives


def monitored(monitor: str) -> Metric:
    """Return the metric of a validation column such as ``val/macro_f1``."""
    return METRICS[monitor.removeprefix("val/")]


PROBABILISTIC = ("log_loss", "brier", "ece", "ece_equal_mass")  # those that calibration is there for
ECE_BINS = 15
SMALLEST = 2.0**-126  # the least normal float32: a softmax in float32 that says 0 means less than this


def classification_metrics(
    probabilities_NC: Tensor | ArrayLike,
    labels_N: Tensor | ArrayLike,
    classes: Sequence[str],
    uncertainty_N: Tensor | ArrayLike | None = None,
    confidence_N: Tensor | ArrayLike | None = None,
) -> dict[str, float]:
    """Compute the metrics of N classified images, as plain floats.

    - ``accuracy``: share of right predictions.
    - ``macro_precision``, ``macro_recall``, ``macro_f1``: means over the classes that occur among the labels or the
      predictions, as scikit-learn's ``average="macro"``; a ratio of 0 to 0 counts as 0.
    - ``log_loss``: mean of -log of the probability of the true class, in nats, whatever the training loss was.
    - ``brier``: mean of the squared distance between the probabilities and the truth, from 0 to 2 (Brier 1950).
    - ``ece``: expected calibration error (Guo et al. 2017, arXiv:1706.04599): mean gap between confidence and accuracy
      over 15 equal bins of confidence.
    - ``ece_equal_mass``: the same over 15 bins of equally many images (Nguyen & O'Connor 2015, arXiv:1508.05154), of
      which none is nearly empty. Both are plain, not debiased: of few images they are too large, even of a model that
      is perfectly calibrated.
    - ``mean_uncertainty``, and ``mean_uncertainty_right`` and ``_wrong`` over right and wrong predictions.
    - ``<class>/accuracy``: share of the class's images predicted as such (its recall).

    What has no images to average over is left out: the accuracy of a class without samples, and
    ``mean_uncertainty_wrong`` when nothing is wrong.

    Parameters
    ----------
    probabilities_NC : (N, C) array or tensor
        Rows sum to 1.
    labels_N : (N,) array or tensor of int
        Index into `classes`.
    classes : sequence of str
        Class names in label order.
    uncertainty_N : (N,) array or tensor, optional
        Probability that each prediction is wrong; by default 1 minus the highest probability.
    confidence_N : (N,) array or tensor, optional
        Probability that each prediction is right, of which the calibration errors are; by default the highest
        probability.

    Raises
    ------
    ValueError
        There are no images, or the shapes do not belong together.
    """
    probabilities, labels = _array(probabilities_NC).astype(np.float64), _array(labels_N).astype(np.int64)
    count = len(classes)
    if not len(labels) or probabilities.shape != (len(labels), count):
        raise ValueError(f"probabilities {probabilities.shape}, {len(labels)} labels and {count} classes differ")
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    uncertainty = 1.0 - confidence if uncertainty_N is None else _array(uncertainty_N).astype(np.float64)
    told = confidence if confidence_N is None else _array(confidence_N).astype(np.float64)
    right = predicted == labels
    hits = np.bincount(labels[right], minlength=count)
    images, answers = np.bincount(labels, minlength=count), np.bincount(predicted, minlength=count)
    occurs = (images + answers) > 0
    metrics = {
        "accuracy": right.mean(),
        "macro_f1": (2 * hits / np.maximum(images + answers, 1))[occurs].mean(),
        "macro_precision": (hits / np.maximum(answers, 1))[occurs].mean(),
        "macro_recall": (hits / np.maximum(images, 1))[occurs].mean(),
        "log_loss": negative_log_likelihood(probabilities, labels).mean(),
        "brier": ((probabilities - np.eye(count)[labels]) ** 2).sum(axis=1).mean(),
        "ece": expected_calibration_error(told, right),
        "ece_equal_mass": equal_mass_calibration_error(told, right),
        "mean_uncertainty": uncertainty.mean(),
    }
    if right.any():
        metrics["mean_uncertainty_right"] = uncertainty[right].mean()
    if not right.all():
        metrics["mean_uncertainty_wrong"] = uncertainty[~right].mean()
    for name, hit, size in zip(classes, hits, images, strict=True):
        if size:
            metrics[f"{name}/accuracy"] = hit / size
    return {name: float(value) for name, value in metrics.items()}


def expected_calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = ECE_BINS) -> float:
    """Compute the mean gap between confidence and accuracy over equal bins of confidence, weighted by their images."""
    if not np.isfinite(confidence_N).all():  # a network that diverged
        return math.nan
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)  # bins are open on the left
    gap = np.bincount(bin_N, weights=confidence_N - right_N, minlength=bins)  # images times (confidence - accuracy)
    return float(np.abs(gap).sum() / len(confidence_N))


def equal_mass_calibration_error(confidence_N: np.ndarray, right_N: np.ndarray, bins: int = ECE_BINS) -> float:
    """Compute the mean gap between confidence and accuracy over bins of equally many images, sorted by confidence."""
    if not np.isfinite(confidence_N).all():
        return math.nan
    order = np.argsort(confidence_N, kind="stable")
    gaps = [part.sum() for part in np.array_split((confidence_N - right_N)[order], bins)]
    return float(np.abs(gaps).sum() / len(confidence_N))


def negative_log_likelihood(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Compute -log of the probability of each image's true class, (N,) float64; no probability counts as 0."""
    true_N = np.take_along_axis(probabilities_NC.astype(np.float64), labels_N[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(true_N, SMALLEST))


def _array(values: Any) -> np.ndarray:
    is_tensor = hasattr(values, "detach")  # without importing torch
    return values.detach().cpu().double().numpy() if is_tensor else np.asarray(values)
