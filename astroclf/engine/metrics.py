"""The figures by which a classification is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

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
    # torchmetrics takes values outside 0 to 1, which rounding can give, for logits; 1.0 itself gets an extra bin there
    below_one = float(np.nextafter(1.0, 0.0))
    probabilities = _on_cpu(probabilities_NC).double().clamp(0.0, below_one)
    labels = _on_cpu(labels_N).long()
    count = len(classes)
    if not len(labels) or probabilities.shape != (len(labels), count):
        raise ValueError(f"probabilities {tuple(probabilities.shape)}, {len(labels)} labels and {count} classes differ")
    confidence, predicted = probabilities.max(dim=1)
    uncertainty = 1.0 - confidence if uncertainty_N is None else _on_cpu(uncertainty_N).double()
    right = predicted == labels
    metrics = {
        "accuracy": multiclass_accuracy(predicted, labels, count, average="micro"),
        "macro_f1": multiclass_f1_score(predicted, labels, count, average="macro"),
        "macro_precision": multiclass_precision(predicted, labels, count, average="macro"),
        "macro_recall": multiclass_recall(predicted, labels, count, average="macro"),
        "ece": multiclass_calibration_error(probabilities, labels, count, n_bins=ECE_BINS),
        "mean_uncertainty": uncertainty.mean(),
    }
    if right.any():
        metrics["mean_uncertainty_right"] = uncertainty[right].mean()
    if not right.all():
        metrics["mean_uncertainty_wrong"] = uncertainty[~right].mean()
    recalls = multiclass_recall(predicted, labels, count, average="none")
    samples = torch.bincount(labels, minlength=count)
    for name, recall, size in zip(classes, recalls, samples, strict=True):
        if size:
            metrics[f"{name}/accuracy"] = recall
    return {name: round(float(value), 7) for name, value in metrics.items()}  # torchmetrics counts in float32


def _on_cpu(values: Tensor | ArrayLike) -> Tensor:
    return values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
