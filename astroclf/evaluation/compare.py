"""Two models on the same test images: by how much one is better, and whether that may be chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroclf.errors import DataError
from astroclf.evaluation.predictions import Predictions

CELLS_PER_CHUNK = 4_000_000  # drawn counts held at once: 32 MB


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

    Test images are drawn with replacement, the same for both models (paired, Koehn 2004, "Statistical significance
    tests for machine translation evaluation"), and within each class (stratified): the test split has its share of
    each class by construction, and a rare class must not vanish from a resample. The interval holds the middle of the
    resamples' differences (percentile interval, Efron & Tibshirani 1993, chapter 13). It speaks of other test images of
    the same kind, not of other trainings; near-duplicates among the images make it too narrow.

    Images with the same label and the same two answers are interchangeable, so a resample is a multinomial draw over
    those cells, and both metrics follow from its counts: the cost depends on the cells (hundreds), not on the images.

    Parameters
    ----------
    champion, challenger
        From `on_the_same_images`: the same images in the same order.
    metric
        ``accuracy``, or ``macro_f1`` as in `classification_metrics`.
    """
    size = len(champion.classes)
    cells, counts = np.unique(
        np.stack([champion.truth, champion.predicted, challenger.predicted]), axis=1, return_counts=True
    )
    labels_K, predicted_2K = cells[0], cells[1:]
    measure = _accuracy if metric == "accuracy" else _macro_f1

    def measure_both(counts_RK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, second = (measure(counts_RK, labels_K, predicted_K, size) for predicted_K in predicted_2K)
        return first, second

    observed = [float(value[0]) for value in measure_both(counts[None].astype(np.float64))]
    rng = np.random.default_rng(seed)
    chunk = max(1, CELLS_PER_CHUNK // len(counts))
    parts = []
    for start in range(0, resamples, chunk):
        drawn_RK = _draw(rng, counts, labels_K, min(chunk, resamples - start))
        first, second = measure_both(drawn_RK)
        parts.append(second - first)
    differences = np.concatenate(parts)
    differences[np.abs(differences) < 1e-12] = 0  # sums of the same ratios in another order
    tail = (1 - interval) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    right = predicted_2K == labels_K
    return Difference(
        metric=metric,
        champion=observed[0],
        challenger=observed[1],
        difference=observed[1] - observed[0],
        low=float(low),
        high=float(high),
        interval=interval,
        share_above=float((differences > 0).mean()),
        only_challenger=int(counts[right[1] & ~right[0]].sum()),
        only_champion=int(counts[right[0] & ~right[1]].sum()),
        images=int(counts.sum()),
    )


def recall_losses(champion: Predictions, challenger: Predictions) -> dict[str, float]:
    """Compute how much recall each class loses from champion to challenger; negative where it gains.

    Classes without test images are left out.
    """
    losses = {}
    for label, name in enumerate(champion.classes):
        mine = champion.truth == label
        if mine.any():
            before, now = (float((model.predicted[mine] == label).mean()) for model in (champion, challenger))
            losses[name] = before - now
    return losses


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
