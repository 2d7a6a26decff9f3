"""Labels that are probably wrong, by what a model says of images that it was not trained on.

How many there are is estimated by confident learning (Northcutt et al. 2021, arXiv:1911.00068): how sure a model must
be of a class differs between classes, for it is surer of some than of others.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astroclf.evaluation.predictions import Predictions
from astroclf.util.atomic import write_text

UNSEEN_THRESHOLD = 0.5  # of a class that no image is labelled with: there is no mean to take
ROUNDING = 1e-6  # of a mean of equal probabilities


class Suspect(NamedTuple):
    """One image whose label is probably wrong, as a row of ``suspects.csv``."""

    id: str
    label: str
    suggested_label: str
    label_probability: float
    suggested_probability: float
    class_accuracy: float


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose label is probably wrong, the most suspicious first.

    Attributes
    ----------
    rows : (S,) int
        Which of the images they are.
    labels : (S,) int
        Their given labels.
    suggested : (S,) int
        The classes that they probably belong to: the most probable ones.
    label_probability, suggested_probability : (S,) float
        What the model gives to both.
    class_accuracy : (S,) float
        The share of all images with this label of which the model says it: so far can its doubts be trusted.
    """

    rows: np.ndarray
    labels: np.ndarray
    suggested: np.ndarray
    label_probability: np.ndarray
    suggested_probability: np.ndarray
    class_accuracy: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, predictions: Predictions) -> list[Suspect]:
        """Return the suspects by their names, among the predictions that they were found in."""
        named = zip(self.rows, self.labels, self.suggested, strict=True)
        figures = zip(self.label_probability, self.suggested_probability, self.class_accuracy, strict=True)
        return [
            Suspect(
                str(predictions.ids[row]), predictions.classes[label], predictions.classes[suggested],
                *map(float, values),
            )
            for (row, label, suggested), values in zip(named, figures, strict=True)
        ]  # fmt: skip


def find_suspects(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> Suspects:
    """Find the images whose label is probably wrong: as many as confident learning counts, the least probable labels.

    What is counted are images that are confidently of another class than their label. An image is confidently of a
    class where the class's probability is at least its mean over the images with this label (the threshold of equation
    2, arXiv:1911.00068); of several such classes, it is of the most probable one. A label that is the most probable
    class is never suspicious.

    The least probable label comes first, among equals the one furthest behind the most probable class. Where any label
    may have been exchanged for any other, that is the order of the probability that it was, by Bayes' theorem, and on
    real galaxies it finds more than the margin between label and best other class (``experiments/suspects.md``).
    """
    rows_N, margins_N = np.arange(len(labels_N)), label_margins(probabilities_NC, labels_N)
    thresholds_C = _class_thresholds(probabilities_NC, labels_N) - ROUNDING
    confident_NC = np.where(probabilities_NC >= thresholds_C, probabilities_NC, -1.0)
    of_another_N = (confident_NC.max(axis=1) >= 0) & (confident_NC.argmax(axis=1) != labels_N) & (margins_N < 0)
    own_N, best_N = probabilities_NC[rows_N, labels_N], probabilities_NC.argmax(axis=1)
    doubted = np.flatnonzero(margins_N < 0)
    rows = doubted[np.lexsort((margins_N[doubted], own_N[doubted]))][: np.count_nonzero(of_another_N)]
    classes = probabilities_NC.shape[1]
    agreed_C = np.bincount(labels_N, weights=probabilities_NC.argmax(axis=1) == labels_N, minlength=classes)
    images_C = np.bincount(labels_N, minlength=classes)
    return Suspects(
        rows=rows,
        labels=labels_N[rows],
        suggested=best_N[rows],
        label_probability=own_N[rows],
        suggested_probability=probabilities_NC[rows, best_N[rows]],
        class_accuracy=(agreed_C / np.maximum(images_C, 1))[labels_N[rows]],
    )


def label_margins(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Return the probability of each label minus the highest among the other classes, (N,) from -1 to 1."""
    rows_N = np.arange(len(labels_N))
    others_NC = probabilities_NC.copy()
    others_NC[rows_N, labels_N] = -np.inf
    return probabilities_NC[rows_N, labels_N] - others_NC.max(axis=1)


def write_suspects(path: Path, suspects: Iterable[Suspect]) -> None:
    """Write suspects as a CSV table that a person can go through."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Suspect._fields)
    for each in suspects:
        writer.writerow([*each[:3], *(f"{value:.6f}" for value in each[3:])])
    write_text(path, text.getvalue())


def _class_thresholds(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Return the mean probability of each class over the images with this label, (C,)."""
    classes = probabilities_NC.shape[1]
    counts_C = np.bincount(labels_N, minlength=classes)
    own_N = probabilities_NC[np.arange(len(labels_N)), labels_N]
    sums_C = np.bincount(labels_N, weights=own_N, minlength=classes)
    return np.where(counts_C > 0, sums_C / np.maximum(counts_C, 1), UNSEEN_THRESHOLD)
