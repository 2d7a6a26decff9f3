"""Metrics of resampled test images: what they might have been on other images of the same kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CELLS_PER_CHUNK = 4_000_000  # drawn counts held at once: 32 MB


def resampled(
    metric: str, labels_N: np.ndarray, answers: Sequence[np.ndarray], classes: int, resamples: int, seed: int = 0
) -> tuple[list[float], np.ndarray]:
    """Measure one or several models on resampled test images, the same resamples for all of them.

    Test images are drawn with replacement within each class (stratified): the test split has its share of each class by
    construction, and a rare class must not vanish from a resample (Efron & Tibshirani 1993, chapters 8 and 13).

    Images with the same label and the same answers are interchangeable, so a resample is a multinomial draw over those
    cells, and both metrics follow from its counts: the cost depends on the cells (hundreds), not on the images.

    Parameters
    ----------
    metric
        ``accuracy``, or ``macro_f1`` as in `classification_metrics`.
    answers
        The predicted classes (N,) of each model.

    Returns
    -------
    observed : list of float
        The metric of each model on the images themselves.
    drawn : (models, R) float
        The same on each resample.
    """
    cells, counts = np.unique(np.stack([labels_N, *answers]), axis=1, return_counts=True)
    labels_K, predicted = cells[0], cells[1:]
    measure = _accuracy if metric == "accuracy" else _macro_f1
    whole = counts[None].astype(np.float64)
    observed = [float(measure(whole, labels_K, predicted_K, classes)[0]) for predicted_K in predicted]
    rng = np.random.default_rng(seed)
    chunk = max(1, CELLS_PER_CHUNK // len(counts))
    parts = []
    for start in range(0, resamples, chunk):
        drawn_RK = _draw(rng, counts, labels_K, min(chunk, resamples - start))
        parts.append([measure(drawn_RK, labels_K, predicted_K, classes) for predicted_K in predicted])
    return observed, np.concatenate(parts, axis=1)


def resampled_mean(values_N: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Return the mean of values of images on resamples of the images, (R,) float64."""
    rng, count = np.random.default_rng(seed), len(values_N)
    chunk = max(1, CELLS_PER_CHUNK // count)
    sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
    shares = np.full(count, 1 / count)
    return np.concatenate([rng.multinomial(count, shares, size=size) @ values_N for size in sizes]) / count


def _draw(rng: np.random.Generator, counts_K: np.ndarray, labels_K: np.ndarray, resamples: int) -> np.ndarray:
    """Draw how often each cell occurs in each resample, (R, K) float64; a class keeps its number of images."""
    drawn_RK = np.empty((resamples, len(counts_K)))
    for label in np.unique(labels_K):
        mine = labels_K == label
        images = counts_K[mine].sum()
        drawn_RK[:, mine] = rng.multinomial(images, counts_K[mine] / images, size=resamples)
    return drawn_RK


def _accuracy(counts_RK: np.ndarray, labels_K: np.ndarray, predicted_K: np.ndarray, size: int) -> np.ndarray:
    return counts_RK @ (predicted_K == labels_K) / counts_RK.sum(axis=1)


def _macro_f1(counts_RK: np.ndarray, labels_K: np.ndarray, predicted_K: np.ndarray, size: int) -> np.ndarray:
    classes = np.arange(size)
    is_label_KC, is_predicted_KC = labels_K[:, None] == classes, predicted_K[:, None] == classes
    hits_RC = counts_RK @ (is_label_KC & is_predicted_KC).astype(np.float64)
    either_RC = counts_RK @ is_label_KC.astype(np.float64) + counts_RK @ is_predicted_KC.astype(np.float64)
    f1_RC = np.divide(2 * hits_RC, either_RC, out=np.zeros_like(hits_RC), where=either_RC > 0)
    return f1_RC.sum(axis=1) / (either_RC > 0).sum(axis=1)
