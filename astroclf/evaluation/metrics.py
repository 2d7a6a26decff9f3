"""The figures by which a classification is judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

ECE_BINS = 15


def classification_metrics(
    probabilities_NC: Tensor | ArrayLike,
    labels_N: Tensor | ArrayLike,
    classes: Sequence[str],
    uncertainty_N: Tensor | ArrayLike | None = None,
) -> dict[str, float]:
    """Metrics of N classified images, as plain floats.

    - ``accuracy``: share of right predictions.
    - ``macro_precision``, ``macro_recall``, ``macro_f1``: means over the classes that occur among the labels or the
      predictions, as scikit-learn's ``average="macro"``; a ratio of 0 to 0 counts as 0.
    - ``ece``: expected calibration error (Guo et al. 2017, arXiv:1706.04599): mean gap between confidence and accuracy
      over 15 equal bins of the highest probability.
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
    right = predicted == labels
    hits = np.bincount(labels[right], minlength=count)
    images, answers = np.bincount(labels, minlength=count), np.bincount(predicted, minlength=count)
    occurs = (images + answers) > 0
    metrics = {
        "accuracy": right.mean(),
        "macro_f1": (2 * hits / np.maximum(images + answers, 1))[occurs].mean(),
        "macro_precision": (hits / np.maximum(answers, 1))[occurs].mean(),
        "macro_recall": (hits / np.maximum(images, 1))[occurs].mean(),
        "ece": expected_calibration_error(confidence, right),
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
    """Mean gap between confidence and accuracy over equal bins of confidence, weighted by the images in each."""
    if not np.isfinite(confidence_N).all():  # a network that diverged
        return math.nan
    bin_N = np.clip(np.ceil(confidence_N * bins).astype(int) - 1, 0, bins - 1)  # bins are open on the left
    gap = np.bincount(bin_N, weights=confidence_N - right_N, minlength=bins)  # images times (confidence - accuracy)
    return float(np.abs(gap).sum() / len(confidence_N))


def _array(values: Tensor | ArrayLike) -> np.ndarray:
    return values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values)
