"""Metrics of resampled test images: what they might have been on other images of the same kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    cells = Cells(labels_N, answers)
    measure = _accuracy if metric == "accuracy" else _macro_f1
    whole = cells.counts_K[None].astype(np.float64)
    observed = [float(measure(whole, cells.labels_K, predicted_K, classes)[0]) for predicted_K in cells.answers]
    parts = [
        [measure(drawn_RK, cells.labels_K, predicted_K, classes) for predicted_K in cells.answers]
        for drawn_RK in cells.drawn(resamples, seed)
    ]
    return observed, np.concatenate(parts, axis=1)


def resampled_mean(values_N: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Return the mean of values of images on resamples of the images, (R,) float64."""
    parts = [drawn_RN @ values_N for drawn_RN in drawn_counts(len(values_N), resamples, seed)]
    return np.concatenate(parts) / len(values_N)


def drawn_counts(count: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each of so many images occurs in each resample, (R, N) int64, in parts of `CELLS_PER_CHUNK`."""
    rng, shares = np.random.default_rng(seed), np.full(count, 1 / count)
    chunk = max(1, CELLS_PER_CHUNK // count)
    for start in range(0, resamples, chunk):
        yield rng.multinomial(count, shares, size=min(chunk, resamples - start))


class Cells:
    """Kinds of test images that are interchangeable, since they have the same label and the same answers.

    Attributes
    ----------
    labels_K : (K,) int
    answers : sequence of (K,) int
        One for each of the answers that were given.
    counts_K : (K,) int
        Images of each kind.
    """

    def __init__(self, labels_N: np.ndarray, answers: Sequence[np.ndarray]) -> None:
        cells, self.counts_K = np.unique(np.stack([labels_N, *answers]), axis=1, return_counts=True)
        self.labels_K, self.answers = cells[0], list(cells[1:])

    def drawn(self, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
        """Yield how often each kind occurs in each resample, stratified by class, (R, K) float64, in few parts."""
        rng = np.random.default_rng(seed)
        chunk = max(1, CELLS_PER_CHUNK // len(self.counts_K))
        for start in range(0, resamples, chunk):
            yield _draw(rng, self.counts_K, self.labels_K, min(chunk, resamples - start))


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
    return class_ratios(counts_RK, labels_K, predicted_K, size)["macro_f1"]


def class_ratios(
    counts_RK: np.ndarray, labels_K: np.ndarray, predicted_K: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """Compute precision, recall and F1 of counted kinds of images, as scikit-learn does; 0 to 0 counts as 0.

    Returns
    -------
    dict
        ``precision``, ``recall``, ``f1``, (R, C); and their means over the classes that occur among labels or answers,
        ``macro_precision``, ``macro_recall``, ``macro_f1``, (R,).
    """
    classes = np.arange(size)
    is_label_KC, is_predicted_KC = labels_K[:, None] == classes, predicted_K[:, None] == classes
    hits_RC = counts_RK @ (is_label_KC & is_predicted_KC).astype(np.float64)
    images_RC = counts_RK @ is_label_KC.astype(np.float64)
    answers_RC = counts_RK @ is_predicted_KC.astype(np.float64)
    occurs_RC = images_RC + answers_RC > 0
    of_class = {
        "precision": _share(hits_RC, answers_RC),
        "recall": _share(hits_RC, images_RC),
        "f1": _share(2 * hits_RC, images_RC + answers_RC),
    }
    means = {f"macro_{name}": ratio_RC.sum(axis=1) / occurs_RC.sum(axis=1) for name, ratio_RC in of_class.items()}
    return {**of_class, **means}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
